/**
 * What a local VM feels of its disk: how it boots the first time, from the stream and under an overlay that is kept,
 * beside a local raw file; and what the encrypted overlay answers beside qcow2 with LUKS.
 */
import { bootDisk, buildDebianRoot, makeDisk, nbdDrive } from '../interop/debian-disk.rig.ts'
import { benchFolder, makeRawDisk } from './disk.rig.ts'
import { encryptedQcow2, fill, randomIo } from './overlay.rig.ts'
import { median, method, report } from './report.ts'

const turns = 5
const seconds = 3
const overlayMebibytes = 256

method(
  `Both from a folder on this machine. Reads and writes of 4 KiB at random, 32 at once, by fio over NBD, in ${overlayMebibytes} MiB that were written before; ours and qemu-nbd with an encrypted qcow2 file in turn, ${turns} turns of ${seconds} s, median. QEMU boots Debian 12 by tcg to its login, three turns.`,
)
await using folder = await benchFolder()
const store = folder.path('store')
const data = folder.path('data.raw')
await makeRawDisk(data, overlayMebibytes)
await folder.trustcast('image', 'import', data, 'data:1', '--store', store)
{
  const [ours, peer] = [folder.path('ours.sock'), folder.path('peer.sock')]
  await using _ours = await attach('data:1', ours)
  const words = await encryptedQcow2(folder.path('peer.qcow2'), overlayMebibytes)
  await using _peer = await folder.serve(peer, 'qemu-nbd', '--socket', peer, ...words)
  for (const socket of [ours, peer]) await fill(socket, overlayMebibytes)
  for (const kind of ['randread', 'randwrite'] as const) {
    const [mine, theirs]: [number[], number[]] = [[], []]
    for (let turn = 0; turn < turns; turn++) {
      mine.push(await randomIo(ours, kind, overlayMebibytes, seconds))
      theirs.push(await randomIo(peer, kind, overlayMebibytes, seconds))
    }
    const name = kind === 'randread' ? 'overlay-reads' : 'overlay-writes'
    report(`local-vm.${name}`, median(mine), '/s', {
      peer: ['qcow2 with LUKS', median(theirs)],
      goal: { of: 'ratio', atLeast: 0.8 },
    })
  }
}

const root = await buildDebianRoot(folder.path('debian'))
const raw = folder.path('debian.raw')
await makeDisk(root, raw, 2048)
await folder.trustcast('image', 'import', raw, 'debian:1', '--store', store)
const [streamed, local]: [number[], number[]] = [[], []]
for (let turn = 0; turn < 3; turn++) {
  local.push(await bootDisk(`file=${raw},format=raw,if=virtio,snapshot=on`))
  const socket = folder.path(`boot-${turn}`)
  await using _ = await attach('debian:1', socket, '--cache', folder.path(`cache-${turn}`))
  streamed.push(await bootDisk(nbdDrive(socket)))
}
report('local-vm.first-boot', median(streamed) / 1000, 's', {
  peer: ['local raw file', median(local) / 1000],
  goal: { of: 'ratio', atMost: 1.2 },
})

function attach(image: string, socket: string, ...more: readonly string[]) {
  const words = ['disk', 'attach', image, '--store', store, '--socket', socket, '--overlay', 'keep', ...more]
  return folder.serve(socket, 'trustcast', ...words)
}
