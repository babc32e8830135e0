import { randomUUID } from 'node:crypto'
import { mkdir, open, readdir, readFile, rename, rm, stat, utimes } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { ReplicaStore } from '#core/replica/index.ts'

const uuid = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/
const sha256 = /^[0-9a-f]{64}$/
/** Begins with what no name of a replica, piece or manifest begins with. */
const aside = '.aside'

/**
 * Replicas in a folder; several site nodes share one on a file system that all of them see.
 *
 *     REPLICA/pieces/NA/NAME   REPLICA/manifests/DIGEST
 *
 * A file gets its name when its bytes are on the disk, and never changes.
 */
export function openReplicaDirectory(dir: string): ReplicaStore {
  const folder = (replica: string): string => join(dir, checked(uuid, replica))
  const pieces = (replica: string): string => join(folder(replica), 'pieces')
  const manifests = (replica: string): string => join(folder(replica), 'manifests')
  const pieceAt = (replica: string, name: string): string =>
    join(pieces(replica), checked(sha256, name).slice(0, 2), name)
  const manifestAt = (replica: string, digest: string): string =>
    join(manifests(replica), checked(sha256, digest))
  return {
    putPiece: async (replica, name, bytes) => putFile(folder(replica), pieceAt(replica, name), bytes),
    piece: async (replica, name) => present(readFile(pieceAt(replica, name))),
    pieceBytes: async (replica, name) => (await present(stat(pieceAt(replica, name))))?.size,
    putManifest: async (replica, digest, bytes) => {
      await putFile(folder(replica), manifestAt(replica, digest), bytes)
    },
    manifest: async (replica, digest) => present(readFile(manifestAt(replica, digest))),
    collect: async (replica, keep, before) => {
      const kept = keep.manifest === undefined ? [] : [keep.manifest]
      await collectFiles(manifests(replica), new Set(kept), before)
      await collectFiles(join(folder(replica), aside), new Set(), before)
      let left = 0
      for (const part of await namesIn(pieces(replica)))
        left += await collectFiles(join(pieces(replica), part), keep.names, before)
      return left
    },
    remove: async (replica) => {
      await rm(folder(replica), { recursive: true, force: true })
    },
    idle: async (before) => {
      const replicas = (await namesIn(dir)).filter((name) => uuid.test(name))
      const changed = await Promise.all(replicas.map((replica) => present(stat(folder(replica)))))
      return replicas.filter((_, index) => (changed[index]?.mtime ?? before) < before)
    },
  }
}

/** INVARIANT: no name leads out of the folder. */
function checked(form: RegExp, name: string): string {
  if (form.test(name)) return name
  throw new TypeError(`expected a name of the form ${form}, got ${JSON.stringify(name.slice(0, 100))}`)
}

async function putFile(folder: string, path: string, bytes: Uint8Array): Promise<boolean> {
  const now = new Date()
  if (await isThere(utimes(path, now, now))) return false
  const draft = join(folder, aside, randomUUID())
  for (const needed of [dirname(draft), dirname(path)]) await makeFolder(needed)
  try {
    await using file = await open(draft, 'wx', 0o600)
    await file.writeFile(bytes)
    await file.datasync()
    await rename(draft, path)
  } catch (error) {
    await rm(draft, { force: true })
    throw error
  }
  await syncFolder(dirname(path))
  return true
}

/** Its name, and those of the folders that were made for it, are on the disk. */
async function makeFolder(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode: 0o700 })
  if (first === undefined) return
  for (let made = path; made.length >= first.length; made = dirname(made)) await syncFolder(dirname(made))
}

/** @returns bytes that are left */
async function collectFiles(folder: string, keep: ReadonlySet<string>, before: Date): Promise<number> {
  let left = 0
  for (const name of await namesIn(folder)) {
    const path = join(folder, name)
    const { mtime, size } = (await present(stat(path))) ?? { mtime: before, size: 0 }
    if (keep.has(name) || mtime >= before) left += size
    else await rm(path, { force: true })
  }
  return left
}

async function namesIn(folder: string): Promise<readonly string[]> {
  return (await present(readdir(folder))) ?? []
}

async function isThere(call: Promise<unknown>): Promise<boolean> {
  return (await present(call.then(() => true))) ?? false
}

async function present<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

async function syncFolder(path: string): Promise<void> {
  await using folder = await open(path)
  await folder.sync()
}
