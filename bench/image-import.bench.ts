/**
 * How quickly a disk is cut up and stored, beside `casync make` of the same file into a store of its own, and what a
 * newer version of a system image adds.
 */
import { execFile } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { promisify } from 'node:util'
import { buildDebianRoot, makeDisk, upgradeDisk } from '../interop/debian-disk.rig.ts'
import { benchFolder, sizeOf } from './disk.rig.ts'
import { median, method, report } from './report.ts'

const run = promisify(execFile)
const turns = 3

method(
  `A bootable Debian 12 on a disk of 2 GiB, and the same after its packages were upgraded; each turn begins with an empty store; ${turns} turns each, median. Ours compresses and encrypts, casync compresses. MB/s of the file, holes counted.`,
)
await using folder = await benchFolder()
const root = await buildDebianRoot(folder.path('debian'))
const [v1, v2] = [folder.path('v1.raw'), folder.path('v2.raw')]
await makeDisk(root, v1, 2048)
await upgradeDisk(v1, v2)
await rm(root, { recursive: true })
const bytes = await sizeOf(v1)

interface Imported {
  readonly bytesStored: number
  readonly seconds: number
}
const [ours, peer]: [number[], number[]] = [[], []]
for (let turn = 0; turn < turns; turn++) {
  const store = folder.path(`store${turn}`)
  const { seconds } = await folder.trustcast<Imported>(
    'image',
    'import',
    v1,
    `turn${turn}:1`,
    '--store',
    store,
  )
  ours.push(bytes / 1e6 / seconds)
  const started = performance.now()
  await run('casync', ['make', `--store=${folder.path(`castr${turn}`)}`, folder.path(`v1-${turn}.caibx`), v1])
  peer.push(bytes / 1e6 / ((performance.now() - started) / 1000))
}
report('image-import.rate', median(ours), 'MB/s', {
  peer: ['casync make', median(peer)],
  goal: { of: 'ratio', atLeast: 3 },
})
const second = await folder.trustcast<Imported>(
  'image',
  'import',
  v2,
  'turn0:2',
  '--store',
  folder.path('store0'),
)
const diff = await folder.trustcast<{ changedStoredBytes: number }>(
  'image',
  'diff',
  'turn0:1',
  'turn0:2',
  '--store',
  folder.path('store0'),
)
report('image-import.second-version', second.bytesStored / 1_048_576, 'MiB', {
  peer: ['changed chunks', diff.changedStoredBytes / 1_048_576],
  goal: { of: 'ratio', atMost: 1.5 },
})
