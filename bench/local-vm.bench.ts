/**
 * What a local VM feels of its disk: how it boots the first time, from the stream and under an overlay that is kept,
 * beside a local raw file; and what the encrypted overlay answers beside qcow2 with LUKS.
 */
import { bootDisk, buildDebianRoot, makeDisk, nbdDrive } from '../interop/debian-disk.rig.ts'
import { benchFolder, makeRawDisk, serveStore } from './disk.rig.ts'
import { encryptedQcow2, guestRates, packGuest } from './guest-io.rig.ts'
import { median, method, report } from './report.ts'

const turns = 5
const seconds = 3
const overlayMebibytes = 256

method(
  `Images stream from nginx by HTTPS over loopback. Reads and writes of 4 KiB at random, 32 at once, by fio with O_DIRECT in a guest of one QEMU (tcg), which has two disks of ${overlayMebibytes} MiB: the overlay, attached by NBD as a local VM has it, and a qcow2 file that QEMU opens itself, both virtio and both written full before; in turn, ${turns} turns of ${seconds} s, median. QEMU boots Debian 12 by tcg to its login, three turns, each with an empty cache.`,
)
await using folder = await benchFolder()
const store = folder.path('store')
await using web = await serveStore(store)
const data = folder.path('data.raw')
await makeRawDisk(data, overlayMebibytes)
await folder.trustcast('image', 'import', data, 'data:1', '--store', store)
const root = await buildDebianRoot(folder.path('debian'))
{
  const [socket, qcow2, guest] = [folder.path('data.sock'), folder.path('peer.qcow2'), folder.path('guest')]
  await using _ = await attach('data:1', socket)
  await encryptedQcow2(qcow2, overlayMebibytes)
  const files = await packGuest(root, guest, { turns, seconds })
  const rates = await guestRates(files, { socket, qcow2 }, guest)
  for (const kind of ['read', 'write'] as const) {
    const of = (disk: 'ours' | 'peer') =>
      median(rates.filter((one) => one.disk === disk && one.kind === kind).map(({ rate }) => rate))
    report(`local-vm.overlay-${kind}s`, of('ours'), '/s', {
      peer: ['qcow2 with LUKS', of('peer')],
      goal: { of: 'ratio', atLeast: 0.8 },
    })
  }
}

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
  const words = ['disk', 'attach', image, ...web.words, '--socket', socket, '--overlay', 'keep', ...more]
  return folder.serve(socket, 'trustcast', ...words)
}
