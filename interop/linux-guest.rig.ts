import { execFile } from 'node:child_process'
import { chmod, copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const mebibyte = 1 << 20
const sizeMiB = 64
/** Behind the partition. */
const saidAt = sizeMiB * mebibyte
const over = 'TRUSTCAST-GUEST-IS-DONE'
const modules = ['virtio_pci', 'virtio_blk', 'virtio_net']

/** Everything that it says goes to its disk: it has nothing else to say it on. */
const init = `#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /etc
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/lib/$module"; done < /modules
sh /script > /said 2>&1
echo ${over} >> /said
dd if=/said of=/dev/vda bs=1M seek=${sizeMiB} conv=notrunc,sync
sync
poweroff -f
`

/** What a guest has said; undefined before it is done. @param disk as it is now */
export function saidOn(disk: Buffer): string | undefined {
  const text = disk.subarray(saidAt, saidAt + 65_536).toString('latin1')
  const end = text.indexOf(over)
  return end < 0 ? undefined : text.slice(0, end)
}

/**
 * A guest with a real kernel, Debian's for virtual machines, and busybox: started by UEFI it runs a script, writes down what that said, and
 * goes off.
 *
 * @param folder an empty one, which the caller removes
 * @returns its disk
 */
export async function linuxGuest(folder: string, script: string): Promise<Buffer> {
  const [packages, first] = [join(folder, 'packages'), join(folder, 'first')]
  for (const dir of [packages, join(first, 'bin'), join(first, 'lib')]) await mkdir(dir, { recursive: true })
  await chmod(packages, 0o755)
  const { stdout: depends } = await run('apt-cache', ['depends', 'linux-image-cloud-amd64'])
  const [, name = '', version = ''] = /Depends: (linux-image-(\S+))/.exec(depends) ?? []
  await run('apt-get', ['download', '-qq', name], { cwd: packages, maxBuffer: 64 * mebibyte })
  const [packed = ''] = await readdir(packages)
  await run('dpkg-deb', ['-x', join(packages, packed), join(packages, 'kernel')])
  const kernel = join(packages, 'kernel')
  await run('depmod', ['-b', kernel, version])
  const needed = new Set<string>()
  for (const module of modules) {
    const words = ['-d', kernel, '-S', version, '--show-depends', module]
    for (const [, path = ''] of (await run('modprobe', words)).stdout.matchAll(/^insmod (\S+)/gm))
      needed.add(path)
  }
  for (const path of needed) await copyFile(path, join(first, 'lib', basename(path)))
  await copyFile('/bin/busybox', join(first, 'bin/busybox'))
  await writeFile(join(first, 'modules'), [...needed].map((path) => `${basename(path)}\n`).join(''))
  await writeFile(join(first, 'script'), script)
  await writeFile(join(first, 'init'), init, { mode: 0o755 })
  const { stdout: files } = await run('/bin/sh', ['-c', 'find . | busybox cpio -o -H newc'], {
    cwd: first,
    encoding: 'buffer',
    maxBuffer: 64 * mebibyte,
  })
  return fatDisk({
    'LINUX   EFI': await readFile(join(kernel, `boot/vmlinuz-${version}`)),
    'FIRST   CPI': files,
    // What the firmware's shell does by itself.
    'STARTUP NSH': Buffer.from('linux.efi initrd=first.cpi\r\n'),
  })
}

const [sectorBytes, clusterBytes, fatSectors, rootSectors] = [512, 4096, 64, 32]

/** A disk that is one FAT16 file system, with files in its root folder, and room behind it. @param files by their names of 11 characters */
function fatDisk(files: Readonly<Record<string, Buffer>>): Buffer {
  const disk = Buffer.alloc(saidAt + mebibyte)
  // From the jump to the number of sectors, as the BIOS parameter block has them.
  disk.write('eb3c90', 'hex')
  disk.write('MSDOS5.0', 3)
  disk.writeUInt16LE(sectorBytes, 11)
  disk[13] = clusterBytes / sectorBytes
  disk.writeUInt16LE(1, 14)
  disk[16] = 1
  disk.writeUInt16LE((rootSectors * sectorBytes) / 32, 17)
  disk[21] = 0xf8
  disk.writeUInt16LE(fatSectors, 22)
  disk.writeUInt32LE(saidAt / sectorBytes, 32)
  disk[38] = 0x29
  disk.write('GUEST      FAT16   ', 43)
  disk.writeUInt16LE(0xaa55, 510)
  const fat = disk.subarray(sectorBytes)
  fat.writeUInt32LE(0xfffffff8)
  const root = disk.subarray((1 + fatSectors) * sectorBytes)
  let [entry, cluster] = [0, 2]
  for (const [name, bytes] of Object.entries(files)) {
    root.write(name, entry)
    root[entry + 11] = 0x20
    root.writeUInt16LE(cluster, entry + 26)
    root.writeUInt32LE(bytes.length, entry + 28)
    entry += 32
    bytes.copy(root, rootSectors * sectorBytes + (cluster - 2) * clusterBytes)
    const end = cluster + Math.ceil(bytes.length / clusterBytes)
    for (; cluster < end; cluster++) fat.writeUInt16LE(cluster + 1 < end ? cluster + 1 : 0xffff, 2 * cluster)
  }
  return disk
}
