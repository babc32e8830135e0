import { randomUUID } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, stat, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { type BlobDigest, BlobError, parseDigest } from '#core/blobs/index.ts'
import { encodeUtf8 } from '#core/bytes/index.ts'
import { writeAside } from './durable.ts'
import { unless } from './file-error.ts'
import type { Layout } from './layout.ts'

const refreshMs = 60_000
/** How long a pin counts after its last refresh: its holder may have been killed. */
const believedMs = 300_000

/** Says that blobs are being read, until it is disposed of or its process ends. Call it with the layout's lock held. */
export async function writePin(layout: Layout, digests: Iterable<BlobDigest>): Promise<AsyncDisposable> {
  const path = join(layout.pins, randomUUID())
  const content = encodeUtf8(Array.from(digests, (digest) => `${digest}\n`).join(''))
  const write = async () => rename(await writeAside(layout.aside, content), path)
  await mkdir(layout.pins, { recursive: true })
  await write()
  let refreshing = Promise.resolve()
  const timer = setInterval(() => {
    const now = new Date()
    // Gone when this machine slept for longer than a pin is believed.
    refreshing = utimes(path, now, now)
      .catch(write)
      .catch(() => undefined)
  }, refreshMs).unref()
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      await refreshing
      await rm(path, { force: true })
    },
  }
}

/** The names of pins that count now. Those that do not are removed. */
export async function believedPins(layout: Layout, now: number): Promise<readonly string[]> {
  const believed: string[] = []
  for (const name of (await unless(['ENOENT'], readdir(layout.pins))) ?? []) {
    const path = join(layout.pins, name)
    const pin = await unless(['ENOENT'], stat(path))
    if (pin === undefined) continue
    if (pin.mtimeMs > now - believedMs) believed.push(name)
    else await rm(path, { force: true })
  }
  return believed
}

/** @throws {BlobError} BLOB_WRONG_ANSWER when it is none */
export async function readPin(layout: Layout, name: string): Promise<readonly BlobDigest[]> {
  const path = join(layout.pins, name)
  // Taken away between list and read: nobody needs it any more.
  const text = (await unless(['ENOENT'], readFile(path, 'utf8'))) ?? ''
  try {
    return text.split('\n').slice(0, -1).map(parseDigest)
  } catch (cause) {
    throw new BlobError('BLOB_WRONG_ANSWER', `${path} is no pin, so nobody knows what its reader needs`, {
      cause,
      remedy: `Remove ${path} if nothing reads from this store.`,
    })
  }
}
