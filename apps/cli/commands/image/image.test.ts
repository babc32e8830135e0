import { type ChildProcessByStdio, execFile, spawn } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import {
  appendFile,
  cp,
  mkdtemp,
  open,
  readdir,
  readFile,
  rm,
  stat,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { type AddressInfo, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { buildVhd } from '#core/image/vhd/vhd.fixture.ts'
import { freePort, startRegistry } from '../../../../interop/blob-servers.rig.ts'

/** Importing, verifying and exporting by the command line: what is killed goes on, and what is bad leaves nothing. */

const run = promisify(execFile)
const trustcast = join(import.meta.dirname, '../../../../trustcast')
const MiB = 1_048_576
let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'image-import-'))
})

afterEach(() => rm(folder, { recursive: true }))

const at = (...names: readonly string[]): string => join(folder, ...names)

function image(state: string, ...words: readonly string[]): Promise<{ stdout: string; stderr: string }> {
  return run(trustcast, ['image', ...words], { env: environment(state) })
}

/** Store and keys lie below a folder of their own. */
function environment(state: string): NodeJS.ProcessEnv {
  return { ...process.env, TRUSTCAST_STORE: at(state, 'store'), TRUSTCAST_IMAGES: at(state, 'keys') }
}

async function writeNoise(path: string, mebibytes: number): Promise<void> {
  await using file = await open(path, 'w')
  for (let done = 0; done < mebibytes; done += 16) await file.write(randomBytes(16 * MiB))
}

async function journalOf(state: string): Promise<string> {
  return readFile(at(state, 'keys/imports/disk:1.journal'), 'utf8').catch(() => '')
}

function chunksOf(line: string): number {
  return (JSON.parse(line) as { chunks: unknown[] }).chunks.length
}

/** Imports `disk:1` until its journal names two packs. */
async function importBegun(
  state: string,
  source: string,
  ...words: readonly string[]
): Promise<{ readonly child: ChildProcessByStdio<null, null, Readable>; readonly gone: Promise<unknown> }> {
  const child = spawn(trustcast, ['image', 'import', source, 'disk:1', ...words], {
    env: environment(state),
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const gone = once(child, 'exit')
  while ((await journalOf(state)).split('\n').length < 4) {
    if (child.exitCode !== null) throw new Error('the import ended by itself')
    await sleep(1)
  }
  return { child, gone }
}

/** Kills that. @returns the journal's whole lines */
async function importKilled(
  state: string,
  source: string,
  ...words: readonly string[]
): Promise<readonly string[]> {
  const { child, gone } = await importBegun(state, source, ...words)
  child.kill('SIGKILL')
  await gone
  expect(child.signalCode).toBe('SIGKILL')
  return (await journalOf(state)).split('\n').slice(0, -1)
}

test.each([
  ['--app', 'Writer=/usr/bin/writer', 'USAGE'],
  ['--app', 'writer', 'USAGE'],
  ['--app', `writer=${'a '.repeat(51)}`, 'USAGE'],
  ['--chunk', '0', 'USAGE'],
  ['--chunk', '100K', 'USAGE'],
  ['--chunk', '8M', 'USAGE'],
  ['--vm', '/nowhere/vm.yaml', 'CLI_FILE_MISSING'],
])('%s %s is refused before the disk is looked for', async (option, value, code) => {
  await expect(image('state', 'import', at('nowhere.raw'), 'disk:1', option, value)).rejects.toMatchObject({
    stderr: expect.stringMatching(new RegExp(`^${code}: `)),
  })
  expect(await readdir(folder)).toEqual([])
})

test('an import that was killed goes on, over a line that is torn, and anew when its source has changed', async () => {
  await writeNoise(at('disk.raw'), 64)
  const [, ...packs] = await importKilled('one', at('disk.raw'))
  // The last line, as if only a part of it had come to the disk.
  await appendFile(at('one/keys/imports/disk:1.journal'), packs.at(-1)!.slice(0, 100))
  await cp(at('one'), at('two'), { recursive: true })
  const done = packs.reduce((sum, line) => sum + chunksOf(line), 0)
  const again = await image('one', 'import', at('disk.raw'), 'disk:1')
  expect(again.stdout).toContain(`Going on: ${done} chunks are in the store already\n`)
  expect(again.stdout).toContain(`256 chunks that are not zeros, ${done} of them known\n`)
  expect((await image('one', 'verify', 'disk:1')).stdout).toContain('is whole: 64.0 MiB verified')
  await image('one', 'export', 'disk:1', at('copy.raw'))
  await run('cmp', [at('copy.raw'), at('disk.raw')])
  expect(await journalOf('one')).toBe('')

  await utimes(at('disk.raw'), new Date(), new Date(0))
  const anew = await image('two', 'import', at('disk.raw'), 'disk:1')
  expect(anew.stdout).not.toContain('Going on')
  expect(anew.stdout).toContain(' 0 of them known\n')
})

test('two imports of one name at once: the second is refused, and the name stays with the first', async () => {
  await writeNoise(at('disk.raw'), 64)
  const { child, gone } = await importBegun('state', at('disk.raw'))
  await writeNoise(at('other.raw'), 16)
  child.kill('SIGSTOP')
  await expect(image('state', 'import', at('other.raw'), 'disk:1')).rejects.toMatchObject({
    stderr: expect.stringMatching(/^IMAGE_IMPORT_RUNNING: disk:1 /),
  })
  child.kill('SIGCONT')
  await gone
  expect(child.exitCode).toBe(0)
  await image('state', 'export', 'disk:1', at('copy.raw'))
  await run('cmp', [at('copy.raw'), at('disk.raw')])
})

test('images are listed though the key of one family is damaged', async () => {
  await writeNoise(at('disk.raw'), 16)
  for (const name of ['disk', 'other']) await image('state', 'import', at('disk.raw'), `${name}:1`)
  await writeFile(at('state', 'keys/disk.json'), 'damaged')
  const { stdout } = await image('state', 'list')
  expect(stdout).toMatch(/^disk:1 .* key unreadable$/m)
  expect(stdout).toMatch(/^other:1 .* yes$/m)
})

test('a disk that is written to while it is imported becomes no image', async () => {
  await writeNoise(at('disk.raw'), 64)
  const { child } = await importBegun('state', at('disk.raw'))
  child.kill('SIGSTOP')
  {
    await using disk = await open(at('disk.raw'), 'r+')
    await disk.write(Buffer.from('written by a machine'), 0)
  }
  child.kill('SIGCONT')
  expect(await text(child.stderr)).toMatch(/^IMAGE_SOURCE_CHANGED: .*\n.*no machine uses it\.\n$/)
  expect((await image('state', 'list')).stdout).not.toContain('disk')
  await image('state', 'import', at('disk.raw'), 'disk:1')
})

test('an import into a registry that was killed goes on, and sends nothing of what the registry has', async () => {
  await writeNoise(at('disk.raw'), 64)
  await using registry = await startRegistry()
  await using counted = await counting(registry.port)
  const store = ['--store', `oci+http://127.0.0.1:${counted.port}/images`]
  const [, ...packs] = await importKilled('state', at('disk.raw'), ...store)
  const kept = packs.reduce((sum, line) => sum + (JSON.parse(line) as { size: number }).size, 0)
  expect(kept).toBeGreaterThan(8 * MiB)
  const before = counted.sentBytes()
  const again = await image('state', 'import', at('disk.raw'), 'disk:1', ...store)
  expect(again.stdout).toContain('Going on: ')
  expect(counted.sentBytes() - before).toBeLessThan(65 * MiB - kept)
  expect((await image('state', 'verify', 'disk:1', ...store)).stdout).toContain('is whole: 64.0 MiB verified')
  await image('state', 'export', 'disk:1', at('copy.raw'), ...store)
  await run('cmp', [at('copy.raw'), at('disk.raw')])
})

test('that a store is away and asked again is said', async () => {
  const store = `oci+http://127.0.0.1:${await freePort()}/images`
  const child = spawn(trustcast, ['image', 'list', '--store', store], { stdio: ['ignore', 'ignore', 'pipe'] })
  const gone = once(child, 'exit')
  const [said] = (await once(child.stderr, 'data')) as [Buffer]
  expect(said.toString()).toMatch(/^BLOB_UNAVAILABLE: .*ECONNREFUSED.*\nIt is asked again, .*\.\n$/)
  child.kill('SIGTERM')
  await gone
})

test('an upload that is cut off is begun anew', async () => {
  await writeNoise(at('disk.raw'), 16)
  await using registry = await startRegistry()
  await using counted = await counting(registry.port, 3)
  const store = ['--store', `oci+http://127.0.0.1:${counted.port}/images`]
  await image('state', 'import', at('disk.raw'), 'disk:1', ...store)
  expect(counted.cutsLeft()).toBe(0)
  expect((await image('state', 'verify', 'disk:1', ...store)).stdout).toContain('is whole: 16.0 MiB verified')
})

/**
 * Passes bytes on to a port of this machine, and counts those that go there.
 *
 * @param cuts so many connections are cut as soon as 3 MiB went over them
 */
async function counting(
  port: number,
  cuts = 0,
): Promise<AsyncDisposable & { port: number; sentBytes(): number; cutsLeft(): number }> {
  let sent = 0
  let cutsLeft = cuts
  const server = createServer((near) => {
    const far = connect(port, '127.0.0.1')
    let passed = 0
    near.on('data', (bytes) => {
      sent += bytes.length
      passed += bytes.length
      if (cutsLeft > 0 && passed > 3 * MiB) {
        cutsLeft -= 1
        near.destroy()
        far.destroy()
      }
    })
    near.pipe(far).pipe(near)
    near.on('error', () => far.destroy())
    far.on('error', () => near.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    sentBytes: () => sent,
    cutsLeft: () => cutsLeft,
    [Symbol.asyncDispose]: async () => {
      server.close()
      await once(server, 'close')
    },
  }
}

test('on a terminal an import says how far it is and leaves only its result there; in a pipe, nothing but that', async () => {
  await writeNoise(at('disk.raw'), 64)
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', at('disk.raw'), at('disk.qcow2')])
  const words = ['image', 'import', at('disk.qcow2'), 'disk:1']
  const typed = [trustcast, ...words].join(' ')
  const terminal = await run('script', ['--quiet', '--return', '--command', typed, '/dev/null'], {
    env: environment('terminal'),
  })
  const shown = terminal.stdout.split('\r\u001B[K')
  expect(shown[0]).toBe('Checking and unpacking the qcow2 first\r\n')
  expect(shown.length).toBeGreaterThan(2)
  for (const line of shown.slice(1, -1)) expect(line).toMatch(/^\d+ % of 64\.0 MiB, \d+(\.\d)? M?i?B stored$/)
  const piped = await image('pipe', ...words.slice(1))
  expect(piped.stderr).toBe('')
  const result = /^disk:1 is in [^]*\n {2}took .*\/s\n$/
  expect(piped.stdout.replace('Checking and unpacking the qcow2 first\n', '')).toMatch(result)
  expect(shown.at(-1)?.replaceAll('\r', '')).toMatch(result)
})

test('of a disk whose table is bad at its end, nothing is stored', async () => {
  const stored = (): Promise<string[]> => readdir(at('state/store/blobs/sha256')).catch(() => [])
  await writeFile(
    at('bad.vhd'),
    largeVhd((table) => table.setUint32(1535 * 4, 0x0fff_ffff)),
  )
  await expect(image('state', 'import', at('bad.vhd'), 'disk:1')).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/IMAGE_BLOCK_OUTSIDE.*[^]*Copy the file again/u),
  })
  expect(await stored()).toEqual([])
  await writeFile(
    at('good.vhd'),
    largeVhd(() => {}),
  )
  await image('state', 'import', at('good.vhd'), 'disk:1')
  expect((await stored()).length).toBeGreaterThan(3)
})

test('an altered or missing pack fails verifying and exporting, and nothing was exported', async () => {
  await writeNoise(at('disk.raw'), 16)
  await image('state', 'import', at('disk.raw'), 'disk:1')
  const blobs = at('state/store/blobs/sha256')
  const sizes = await Promise.all(
    (await readdir(blobs)).map(async (name) => ({ name, bytes: (await stat(join(blobs, name))).size })),
  )
  const packs = sizes.filter(({ bytes }) => bytes > MiB).map(({ name }) => join(blobs, name))
  expect(packs.length).toBeGreaterThan(2)
  const expectRefused = async (code: string): Promise<void> => {
    const refusal = { code: 1, stderr: expect.stringMatching(new RegExp(`^${code}: `)) }
    await expect(image('state', 'verify', 'disk:1')).rejects.toMatchObject(refusal)
    for (const format of ['raw', 'vhd', 'vhd-fixed'])
      await expect(image('state', 'export', 'disk:1', at('copy'), '--format', format)).rejects.toMatchObject(
        refusal,
      )
    expect(await readdir(folder)).toEqual(['disk.raw', 'state'])
  }
  {
    await using pack = await open(packs.at(-1)!, 'r+')
    await pack.write(Buffer.from([0x55, 0xaa, 0x55]), 0, 3, 2 * MiB)
  }
  await expectRefused('ARTIFACT_WRONG_CHUNK')
  await truncate(packs.at(-1)!, 2 * MiB)
  await expectRefused('BLOB_WRONG_ANSWER')
  await rm(packs.at(-1)!)
  await expectRefused('BLOB_MISSING')
})

/** A sparse disk of 3 GiB: more packs than one of what no compression makes smaller, in its first blocks. */
function largeVhd(change: (table: DataView) => void): Uint8Array {
  const blockBytes = 2 * MiB
  const sectors = new Map(Array.from({ length: (8 * blockBytes) / 512 }, (_, sector) => [sector, 1] as const))
  const file = buildVhd({ uniqueId: randomUUID(), sizeBytes: 3072 * MiB, blockBytes, sectors })
  const tableAt = 1536
  const blocksAt = tableAt + 1536 * 4
  for (let block = 0; block < 8; block++)
    file.set(randomBytes(blockBytes), blocksAt + block * (512 + blockBytes) + 512)
  change(new DataView(file.buffer, tableAt))
  return file
}
