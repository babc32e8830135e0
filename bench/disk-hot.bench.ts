/**
 * How quickly a disk answers whose chunks are in memory, beside qemu-nbd and nbdkit on the same bytes in a raw file that
 * is in the page cache. All three serve a unix socket, one after the other in turn, and the same clients ask them.
 */
import { benchFolder, copyRate, lightReads, makeRawDisk, randomReads, sizeOf, uriOf } from './disk.rig.ts'
import { median, method, report } from './report.ts'

const mebibytes = 512
const turns = 5
const copiesEach = 9
const seconds = 4

method(
  `A raw disk of ${mebibytes} MiB; ours with 1 GiB of memory for chunks, all read once before; a client that only counts replies (nbd-load.ts), and fio's nbd engine, which is itself what limits the quicker servers; ${turns} turns of ${seconds} s each, with ${copiesEach} copies to null by nbdcopy, median.`,
)
await using folder = await benchFolder()
const raw = folder.path('disk.raw')
await makeRawDisk(raw, mebibytes)
const bytes = await sizeOf(raw)
const store = folder.path('store')
await folder.trustcast('image', 'import', raw, 'bench:1', '--store', store)
const sockets = { ours: folder.path('o'), qemu: folder.path('q'), nbdkit: folder.path('n') }
await using _ours = await folder.serve(
  sockets.ours,
  'trustcast',
  'disk',
  'attach',
  'bench:1',
  '--store',
  store,
  '--socket',
  sockets.ours,
  '--memory',
  '1G',
  '--read-only',
)
await using _qemu = await folder.serve(
  sockets.qemu,
  'qemu-nbd',
  '-r',
  '-t',
  '-e',
  '16',
  '-f',
  'raw',
  '-k',
  sockets.qemu,
  raw,
)
await using _nbdkit = await folder.serve(
  sockets.nbdkit,
  'nbdkit',
  '-f',
  '-r',
  '-U',
  sockets.nbdkit,
  'file',
  raw,
)

const names = ['ours', 'qemu', 'nbdkit'] as const
for (const name of names) await copyRate(uriOf(sockets[name]), bytes)
const reads = { ours: [] as number[], qemu: [] as number[], nbdkit: [] as number[] }
const fio = { ours: [] as number[], qemu: [] as number[], nbdkit: [] as number[] }
const copies = { ours: [] as number[], qemu: [] as number[], nbdkit: [] as number[] }
for (let turn = 0; turn < turns; turn++) {
  for (const name of names) {
    reads[name].push(await lightReads(sockets[name], 64, seconds))
    fio[name].push(await randomReads(uriOf(sockets[name]), 64, seconds, `${mebibytes}M`))
    for (let copy = 0; copy < copiesEach; copy++)
      copies[name].push(await copyRate(uriOf(sockets[name]), bytes))
  }
}
const goal = { of: 'ratio', atLeast: 1.5 } as const
report('disk-hot.random-4k-depth-64', median(reads.ours), 'reads/s', {
  peer: ['qemu-nbd', median(reads.qemu)],
  goal,
})
report('disk-hot.random-4k-depth-64', median(reads.ours), 'reads/s', {
  peer: ['nbdkit file', median(reads.nbdkit)],
  goal,
})
report('disk-hot.fio-random-4k-depth-64', median(fio.ours), 'reads/s', {
  peer: ['qemu-nbd', median(fio.qemu)],
})
report('disk-hot.fio-random-4k-depth-64', median(fio.ours), 'reads/s', {
  peer: ['nbdkit file', median(fio.nbdkit)],
})
const same = { of: 'ratio', atLeast: 1 } as const
report('disk-hot.copy', median(copies.ours), 'MB/s', { peer: ['qemu-nbd', median(copies.qemu)], goal: same })
report('disk-hot.copy', median(copies.ours), 'MB/s', {
  peer: ['nbdkit file', median(copies.nbdkit)],
  goal: same,
})
