/**
 * How quickly a disk is cut up and stored, beside `casync make` of the same file into a store of its own, and what a
 * newer version of a system image adds.
 */
import { execFile } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { promisify } from 'node:util'
import { buildDebianRoot, makeDisk, upgradeDisk } from '../interop/debian-disk.rig.ts'
import { benchFolder, shell, sizeOf } from './disk.rig.ts'
import { median, method, report } from './report.ts'

const run = promisify(execFile)
const turns = 3

method(
  `A bootable Debian 12 on a disk of 2 GiB, and the same after its packages were upgraded; MB/s of what the disk has beside its holes, which casync reads and ours does not, and of a file that has only that, so that both read every byte; each turn begins with an empty store; ${turns} turns each, median. Ours compresses and encrypts, casync compresses.`,
)
await using folder = await benchFolder()
const root = await buildDebianRoot(folder.path('debian'))
const [v1, v2] = [folder.path('v1.raw'), folder.path('v2.raw')]
await makeDisk(root, v1, 2048)
await upgradeDisk(v1, v2)
await rm(root, { recursive: true })
const data = folder.path('data.raw')
await withoutHoles(v1, data)
const bytes = await sizeOf(data)

const goal = { of: 'ratio', atLeast: 3 } as const
for (const [name, file] of [
  ['rate', v1],
  ['rate-without-holes', data],
] as const) {
  const [ours, peer]: [number[], number[]] = [[], []]
  for (let turn = 0; turn < turns; turn++) {
    const made = folder.path(`${name}-${turn}`)
    const words = ['image', 'import', file, `${name}${turn}:1`, '--store', made]
    ours.push(await rateOf(() => folder.trustcast(...words)))
    peer.push(await rateOf(() => run('casync', ['make', `--store=${made}.castr`, `${made}.caibx`, file])))
  }
  report(`image-import.${name}`, median(ours), 'MB/s', { peer: ['casync make', median(peer)], goal })
}
const inStore = ['--store', folder.path('store')]
await folder.trustcast('image', 'import', v1, 'debian:1', ...inStore)
const second = await folder.trustcast<{ bytesStored: number }>('image', 'import', v2, 'debian:2', ...inStore)
const words = ['image', 'diff', 'debian:1', 'debian:2', ...inStore]
const diff = await folder.trustcast<{ changedStoredBytes: number }>(...words)
report('image-import.second-version', second.bytesStored / 1_048_576, 'MiB', {
  peer: ['changed chunks', diff.changedStoredBytes / 1_048_576],
  goal: { of: 'ratio', atMost: 1.5 },
})

/** The program's own start is counted: MB/s. */
async function rateOf(program: () => Promise<unknown>): Promise<number> {
  const started = performance.now()
  await program()
  return bytes / 1e6 / ((performance.now() - started) / 1000)
}

async function withoutHoles(disk: string, data: string): Promise<void> {
  const map = await shell(`qemu-img map --output=json -f raw ${disk}`)
  const parts = JSON.parse(map) as { start: number; length: number; data: boolean }[]
  for (const part of parts.filter((one) => one.data))
    await shell(
      `dd if=${disk} iflag=skip_bytes,count_bytes skip=${part.start} count=${part.length} bs=1M status=none >> ${data}`,
    )
}
