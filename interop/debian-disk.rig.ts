import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const mebibyte = 1 << 20
const partitionAt = mebibyte
const mbrPath = '/usr/lib/EXTLINUX/mbr.bin'

/** What the machine prints on its serial line when it is up. */
const bootedLine = ' login: '

/**
 * A Debian 12 that boots by itself: MBR, extlinux, one ext4 partition, a kernel for virtual machines, systemd.
 *
 * @param folder gets `root` and the disks made of it
 */
export async function buildDebianRoot(folder: string): Promise<string> {
  const root = join(folder, 'root')
  await mkdir(folder, { recursive: true })
  const log = join(folder, 'debootstrap.log')
  await shell(
    `debootstrap --variant=minbase --include=systemd-sysv,udev,kmod,initramfs-tools,zstd bookworm ${root} >${log} 2>&1`,
  )
  // An initial file system of only what this machine needs, which takes seconds to make and to read.
  await writeFile(join(root, 'etc/initramfs-tools/modules'), 'virtio_pci\nvirtio_blk\next4\n')
  await writeFile(
    join(root, 'etc/initramfs-tools/conf.d/small'),
    'MODULES=list\nCOMPRESS=zstd\nCOMPRESSLEVEL=1\n',
  )
  await inRoot(root, 'apt-get install -y -qq --no-install-recommends linux-image-cloud-amd64')
  await inRoot(root, 'apt-get clean')
  await writeFile(join(root, 'etc/fstab'), '/dev/vda1 / ext4 errors=remount-ro 0 1\n')
  await inRoot(root, 'systemctl mask -q systemd-timesyncd apt-daily.timer e2scrub_reap')
  return root
}

/** Makes a newer version of a disk, as an admin would: what Debian has published for it since is installed in it. */
export async function upgradeDisk(disk: string, upgraded: string): Promise<void> {
  await shell(`cp --sparse=always ${disk} ${upgraded}`)
  const root = `${upgraded}.mnt`
  await mkdir(root)
  await shell(`mount -o loop,offset=${partitionAt} ${upgraded} ${root}`)
  try {
    await upgradeRoot(root)
    await shell(`fstrim ${root}`)
  } finally {
    await shell(`umount ${root}`)
    await rm(root, { recursive: true })
  }
}

async function upgradeRoot(root: string): Promise<void> {
  const sources = '/etc/apt/sources.list.d/debian.sources'
  if (await stat(sources).catch(() => undefined)) {
    await rm(join(root, 'etc/apt/sources.list'), { force: true })
    await copyFile(sources, join(root, sources))
  } else {
    await copyFile('/etc/apt/sources.list', join(root, 'etc/apt/sources.list'))
  }
  await inRoot(
    root,
    'apt-get update -qq && apt-get upgrade -y -qq && apt-get install -y -qq --no-install-recommends less',
  )
  await inRoot(root, 'apt-get clean && rm -rf /var/lib/apt/lists')
}

/** Makes a bootable raw disk of a root file system. */
export async function makeDisk(root: string, disk: string, sizeMiB: number): Promise<void> {
  const partition = `${disk}.part`
  const kernel = (await readdir(join(root, 'boot'))).find((name) => name.startsWith('vmlinuz-'))?.slice(8)
  await mkdir(join(root, 'boot/extlinux'), { recursive: true })
  await writeFile(
    join(root, 'boot/extlinux/extlinux.conf'),
    `default linux\nprompt 0\nlabel linux\n  linux ../vmlinuz-${kernel}\n  initrd ../initrd.img-${kernel}\n  append root=/dev/vda1 ro console=ttyS0 quiet\n`,
  )
  await shell(`truncate -s ${sizeMiB - 1}M ${partition}`)
  // The loader reads ext4 without 64-bit addresses only.
  await shell(`mke2fs -q -t ext4 -O ^64bit -d ${root} ${partition}`)
  await installLoader(partition)
  await shell(`truncate -s ${sizeMiB}M ${disk}`)
  await shell(`dd if=${partition} of=${disk} bs=1M seek=1 conv=notrunc,sparse status=none`)
  await shell(`echo '2048,,L,*' | sfdisk -q ${disk}`)
  await shell(`dd if=${mbrPath} of=${disk} conv=notrunc status=none`)
  await rm(partition)
}

async function installLoader(partition: string): Promise<void> {
  const mount = `${partition}.mnt`
  await mkdir(mount)
  await shell(`mount -o loop ${partition} ${mount}`)
  try {
    await shell(`extlinux --install ${mount}/boot/extlinux 2>&1`)
  } finally {
    await shell(`umount ${mount}`)
    await rm(mount, { recursive: true })
  }
}

/**
 * Starts QEMU from a drive, without KVM, and waits until its guest is up.
 *
 * @param drive as `-drive` takes it
 * @param whenUp is waited for before the machine is ended
 * @returns how long it took until it was up, ms
 * @throws when it ends before, or with the reason of `signal`
 */
export async function bootDisk(
  drive: string,
  signal?: AbortSignal,
  whenUp?: () => Promise<void> | undefined,
): Promise<number> {
  const words = '-accel tcg -m 512 -display none -serial stdio -no-reboot -nic none -drive'.split(' ')
  const started = performance.now()
  const machine = spawn('qemu-system-x86_64', [...words, drive], { stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = once(machine, 'close')
  const kill = (): void => void machine.kill('SIGKILL')
  signal?.addEventListener('abort', kill, { once: true })
  let output = ''
  machine.stderr.on('data', (text) => (output += String(text)))
  try {
    for await (const text of machine.stdout) {
      output += String(text)
      if (!output.includes(bootedLine)) continue
      const tookMs = performance.now() - started
      await whenUp?.()
      return tookMs
    }
    signal?.throwIfAborted()
    throw new Error(`the machine did not come up:\n${output}`)
  } finally {
    kill()
    await ended
  }
}

/** The drive that an NBD server on a unix socket is. */
export function nbdDrive(socket: string): string {
  return `file.driver=nbd,file.server.type=unix,file.server.path=${socket},format=raw,if=virtio`
}

/** Where the partition of such a disk begins. */
export const rootPartition: { readonly offset: number } = { offset: partitionAt }

async function inRoot(root: string, command: string): Promise<void> {
  await copyFile('/etc/resolv.conf', join(root, 'etc/resolv.conf')).catch(() => {})
  await writeFile(join(root, 'usr/sbin/policy-rc.d'), '#!/bin/sh\nexit 101\n', { mode: 0o755 })
  await shell(`mount -t proc proc ${root}/proc`)
  try {
    await shell(
      `DEBIAN_FRONTEND=noninteractive LC_ALL=C chroot ${root} /bin/sh -c '${command}' >>${root}.log 2>&1`,
    )
  } finally {
    await shell(`umount ${root}/proc`)
  }
}

async function shell(command: string): Promise<void> {
  await run('/bin/sh', ['-ec', command], { maxBuffer: 64 * mebibyte })
}
