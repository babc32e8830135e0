/**
 * How long it takes from the command to the first verified read, and how much memory a disk takes, by its size; and how
 * a virtual machine boots from the stream beside a local raw file.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rm, truncate, writeFile } from 'node:fs/promises'
import { bootDisk, buildDebianRoot, makeDisk, nbdDrive } from '../interop/debian-disk.rig.ts'
import { benchFolder, copyRate, makeRawDisk, memoryOf, serveStore, shell, sizeOf, uriOf } from './disk.rig.ts'
import { readOnce } from './nbd-client.ts'
import { median, method, report } from './report.ts'

const turns = 5
const gibibyte = 2 ** 30

method(
  `All from nginx by HTTPS over loopback, with an empty cache and without NODE_EXTRA_CA_CERTS. Sparse disks with 64 MiB of data each; the clock runs from the start of the program, its own start included, to 4 KiB read by NBD, by a client that runs already, memory then; one size after the other in ${turns} turns, median. Memory beyond chunks after all of a full disk of 512 MiB was read with 256 MiB for chunks. QEMU boots Debian 12 by tcg to its login, from a raw file and from the stream in turn.`,
)
await using folder = await benchFolder()
const store = folder.path('store')
await using web = await serveStore(store)
const data = folder.path('data.raw')
await makeRawDisk(data, 64)
const bare = await startOfNode()
const sizes = [
  ['1-gib', 1],
  ['10-gib', 10],
  ['40-gib', 40],
  ['100-gib', 100],
  ['2-tib', 2048],
] as const
for (const [name, gibibytes] of sizes) {
  const raw = folder.path(`${name}.raw`)
  await shell(`cp --sparse=always ${data} ${raw}`)
  await truncate(raw, gibibytes * gibibyte)
  await folder.trustcast('image', 'import', raw, `${name}:1`, '--store', store)
  await rm(raw)
}
const reads = sizes.map(([name]) => ({ name, time: [] as number[], memory: [] as number[] }))
for (let turn = 0; turn < turns; turn++) {
  for (const { name, time, memory } of reads) {
    const [ms, mebibytes] = await firstRead(`${name}:1`, `${name}-${turn}`)
    time.push(ms)
    memory.push(mebibytes)
  }
}
for (const { name, time, memory } of reads) {
  const goal = name === '40-gib' ? { goal: { of: 'value', atMost: 300 } as const } : {}
  report(`disk-attach.time.${name}`, median(time), 'ms', goal)
  report(`disk-attach.memory.${name}`, median(memory), 'MiB')
}
for (const [what, unit, atMost] of [
  ['time', 'ms', 1.5],
  ['memory', 'MiB', 1.25],
] as const) {
  const medians = reads.map((one) => median(one[what]))
  report(`disk-attach.${what}.greatest`, Math.max(...medians), unit, {
    peer: ['smallest of all sizes', Math.min(...medians)],
    goal: { of: 'ratio', atMost },
  })
}
report('disk-attach.start-of-node', bare, 'ms')

{
  const full = folder.path('full.raw')
  await makeRawDisk(full, 512)
  await folder.trustcast('image', 'import', full, 'full:1', '--store', store)
  const socket = folder.path('full')
  await using disk = await attach('full:1', socket, '--memory', '256M')
  await copyRate(uriOf(socket), await sizeOf(full))
  report('disk-attach.memory-beyond-chunks', (await memoryOf(disk.pid)) - 256, 'MiB', {
    goal: { of: 'value', atMost: 150 },
  })
}

const root = await buildDebianRoot(folder.path('debian'))
const raw = folder.path('debian.raw')
await makeDisk(root, raw, 2048)
await folder.trustcast('image', 'import', raw, 'debian:1', '--store', store)
const [streamed, local]: [number[], number[]] = [[], []]
let [fetched, again] = [0, 0]
for (let turn = 0; turn < 2; turn++) {
  local.push(await bootDisk(`file=${raw},format=raw,if=virtio,snapshot=on`))
  const cache = folder.path(`boot-cache-${turn}`)
  streamed.push(await bootFromStream(cache, (bytes) => (fetched = bytes)))
  await bootFromStream(cache, (bytes) => (again = bytes))
}
report('disk-attach.boot', median(streamed) / 1000, 's', {
  peer: ['local raw file', median(local) / 1000],
  goal: { of: 'ratio', atMost: 1.2 },
})
report('disk-attach.boot-bytes', (100 * fetched) / (await sizeOf(raw)), '% of the disk', {
  goal: { of: 'value', atMost: 15 },
})
report('disk-attach.second-boot-bytes', again, 'bytes', { goal: { of: 'value', atMost: 0 } })

function attach(image: string, socket: string, ...more: readonly string[]) {
  const words = ['disk', 'attach', image, ...web.words, '--socket', socket, ...more]
  return folder.serve(socket, 'trustcast', ...words)
}

/** From the start of the program on: ms until 4 KiB were read, and MiB of memory then. */
async function firstRead(image: string, name: string): Promise<readonly [number, number]> {
  const socket = folder.path(name)
  const started = performance.now()
  await using disk = await attach(image, socket, '--cache', folder.path(`${name}-cache`))
  await readOnce(socket, 1n << 20n, 4096)
  return [performance.now() - started, await memoryOf(disk.pid)]
}

async function bootFromStream(cache: string, note: (bytesFetched: number) => void): Promise<number> {
  const socket = folder.path(`boot${performance.now()}`)
  await using _ = await attach('debian:1', socket, '--cache', cache)
  const ms = await bootDisk(nbdDrive(socket))
  const { disks } = await folder.trustcast<{ disks: { bytesFetched: number }[] }>('disk', 'stats')
  note(disks[0]?.bytesFetched ?? 0)
  return ms
}

/** What any program of this kind takes before its first line runs, with the types stripped the first time only, as here. */
async function startOfNode(): Promise<number> {
  const script = folder.path('nothing.ts')
  await writeFile(script, '')
  const times: number[] = []
  for (let turn = 0; turn < turns; turn++) {
    const started = performance.now()
    const env = { ...process.env, NODE_COMPILE_CACHE: folder.path('compiled') }
    await once(spawn(process.execPath, [script], { env }), 'exit')
    times.push(performance.now() - started)
  }
  return median(times)
}
