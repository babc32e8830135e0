import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { qemuArguments, type VmConnections, vmConfigFile } from '#core/vm/index.ts'
import { shell } from './disk.rig.ts'

/** What a guest gets from its disk a second, of 4 KiB at random. */
export interface GuestRate {
  readonly disk: 'ours' | 'peer'
  readonly kind: 'read' | 'write'
  readonly rate: number
}

const vm = vmConfigFile.parse({ memoryMiB: 512 })
const connections: VmConnections = {
  accelerator: 'tcg',
  diskFd: 3,
  monitorFd: 4,
  displaySocket: 'display',
  lockMemory: false,
}
const secret = 'secret,id=bench,data=bench'

/**
 * The guest's whole program: fio, beside a kernel and an initial file system that have what finds disks. It fills both, and then reads
 * and writes them in turn.
 */
const init = (turns: number, seconds: number): string => `#!/bin/sh
mkdir -p /proc /sys
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
modprobe -a virtio_pci virtio_blk
until [ -b /dev/vdb ]; do sleep 1; done
[ "$(cat /sys/block/vdb/serial)" = peer ] || exit
fio() {
  /fio/ld.so --library-path /fio /fio/fio --name=bench --thread --filename=/dev/$1 --direct=1 --ioengine=libaio \\
    --output-format=terse --terse-version=3 $2
}
for disk in vda vdb; do fio $disk '--rw=write --bs=1M --iodepth=4 --end_fsync=1'; done
random='--bs=4k --iodepth=32 --norandommap --randrepeat=0 --gtod_reduce=1 --time_based --runtime=${seconds}'
for kind in read write; do
  for turn in ${Array.from({ length: turns }, (_, turn) => turn).join(' ')}; do
    for disk in vda vdb; do echo "rate $disk $kind $(fio $disk "--rw=rand$kind $random")"; done
  done
done
echo ended
sleep 1000
`

/** A kernel, and an initial file system with the host's fio in it. */
export interface GuestFiles {
  readonly kernel: string
  readonly initrd: string
}

/** @param root a bootable Debian's @param folder an empty one of its own */
export async function packGuest(
  root: string,
  folder: string,
  { turns, seconds }: { readonly turns: number; readonly seconds: number },
): Promise<GuestFiles> {
  const more = join(folder, 'more/fio')
  await mkdir(more, { recursive: true })
  await writeFile(join(more, 'init'), init(turns, seconds), { mode: 0o755 })
  await shell(`cp -L $(command -v fio) $(ldd $(command -v fio) | grep -o '/[^ ]*') ${more}`)
  await shell(`mv ${more}/ld-linux* ${more}/ld.so`)
  const [kernel, initrd] = [join(folder, 'kernel'), join(folder, 'initrd')]
  await shell(`cp ${root}/boot/vmlinuz-* ${kernel}`)
  // The kernel unpacks one archive after the other.
  await shell(`cd ${join(folder, 'more')} && find . | busybox cpio -o -H newc > ${initrd}`)
  await shell(`cat ${root}/boot/initrd.img-* >> ${initrd}`)
  return { kernel, initrd }
}

/**
 * Starts one QEMU by tcg with two disks: an NBD server's export, attached as a local VM has it, and an encrypted qcow2 file that QEMU opens
 * itself with the same words otherwise.
 *
 * @param folder where QEMU may leave its sockets
 */
export async function guestRates(
  { kernel, initrd }: GuestFiles,
  disks: { readonly socket: string; readonly qcow2: string },
  folder: string,
): Promise<readonly GuestRate[]> {
  const words = [
    ...qemuArguments(vm, connections),
    ...peerWords(disks.qcow2),
    ...`-kernel ${kernel} -initrd ${initrd} -serial stdio -no-reboot -append`.split(' '),
    'console=ttyS0 quiet panic=-1 rdinit=/fio/init',
  ]
  // QEMU is the one that reads the server's greeting.
  const nbd = connect(disks.socket).pause()
  await once(nbd, 'connect')
  const machine = spawn('qemu-system-x86_64', words, {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'inherit', nbd, 'pipe'],
  })
  const exited = once(machine, 'exit')
  nbd.destroy()
  const rates: GuestRate[] = []
  let said = ''
  try {
    if (machine.stdout === null) throw new TypeError('expected a pipe')
    for await (const line of createInterface(machine.stdout)) {
      if (line.startsWith('ended')) return rates
      said += `${line}\n`
      const [, disk, kind, fields] = /^rate (vd[ab]) (read|write) (.*)/.exec(line) ?? []
      if (fields === undefined) continue
      // fio, "Terse output": iops of reads are the 8th field, of writes the 49th.
      const rate = Number(fields.split(';')[kind === 'read' ? 7 : 48])
      rates.push({ disk: disk === 'vda' ? 'ours' : 'peer', kind: kind as GuestRate['kind'], rate })
    }
    throw new Error(`the guest ended:\n${said}`)
  } finally {
    machine.kill('SIGKILL')
    await exited
  }
}

/** An encrypted qcow2 file of this size. */
export async function encryptedQcow2(path: string, mebibytes: number): Promise<void> {
  await shell(
    `qemu-img create -q --object ${secret} -f qcow2 -o encrypt.format=luks,encrypt.key-secret=bench,encrypt.iter-time=10 ${path} ${mebibytes}M`,
  )
}

/** As the product's disk is said in `core/vm/qemu-command.ts`, but for what opens it. */
function peerWords(qcow2: string): readonly string[] {
  const image = `driver=qcow2,file.driver=file,file.filename=${qcow2},encrypt.format=luks,encrypt.key-secret=bench`
  const device = 'virtio-blk-pci,drive=peer,serial=peer,werror=stop,rerror=stop,discard=on'
  return `-object ${secret} -blockdev ${image},node-name=peer,discard=unmap -device ${device}`.split(' ')
}
