import { type Checkpoint, openCheckpoint } from './checkpoint.ts'
import { AuditError } from './errors.ts'
import {
  type FaultRange,
  type FileReader,
  LogFault,
  type LogFaultCode,
  rangeOf,
  readEntries,
  readHashTile,
} from './log-files.ts'
import { EMPTY_ROOT, equalHashes, type Hash, leafHash, treeHash } from './merkle.ts'
import { type NoteVerifier, parseVerifierKey } from './note.ts'
import { decodeEntryBundle, entryAt, TILE_WIDTH, type Tile, tilePath } from './tiles.ts'

export interface VerifyOptions {
  readonly read: FileReader
  /** The log's vkey, had from elsewhere than the log. */
  readonly publicKey: string
  /** A checkpoint note of this log kept from earlier: the log must still begin with it. */
  readonly trusted?: string
  /** Another copy of the log, to compare hash by hash; one that is longer is verified, too. */
  readonly against?: FileReader
  /** This is the log itself: no copy of it can be longer. Of two copies either may be the older one. */
  readonly isLive?: boolean
  /** Called after each 256 entries. */
  readonly onProgress?: (verified: bigint, size: bigint) => void
}

/** What was signed, and what was signed of the other copy: of the two the shorter is what the longer begins with. */
interface Verified extends Checkpoint {
  readonly other?: Checkpoint
}

/** What became of a verification; a fault names the first entry, or the smallest known range, that is not as signed. */
export type LogVerdict =
  | ({ readonly ok: true } & Verified)
  | ({ readonly ok: false; readonly code: LogFaultCode; readonly message: string } & Partial<FaultRange>)

/**
 * Verifies a whole log from its files and the public key alone: the checkpoint's signature, each entry against its
 * hash, each tile against the hash above it, the root against the checkpoint.
 *
 * Goes through the log once, left to right, and holds one tile of each level and one entry bundle at a time.
 *
 * @throws {AuditError} AUDIT_BAD_KEY for a malformed vkey; what `read` throws
 */
export async function verifyLog(options: VerifyOptions): Promise<LogVerdict> {
  const verifier = parseVerifierKey(options.publicKey)
  try {
    return { ok: true, ...(await verifyFiles(options, verifier)) }
  } catch (error) {
    if (!(error instanceof LogFault)) throw error
    return { ok: false, code: error.code, message: error.message, ...error.range }
  }
}

async function verifyFiles(options: VerifyOptions, verifier: NoteVerifier): Promise<Verified> {
  const { read, against, trusted } = options
  const head = openHead('AUDIT_CHECKPOINT_INVALID', await read('checkpoint'), verifier)
  const earlier =
    trusted === undefined ? undefined : openHead('AUDIT_TRUSTED_INVALID', Buffer.from(trusted), verifier)
  const other =
    against === undefined
      ? undefined
      : { read: against, head: openHead('AUDIT_OTHER_INVALID', await against('checkpoint'), verifier) }

  const known = earlier && startPrefix(earlier)
  const prefixes = [known, other && startPrefix(other.head)].filter((prefix) => prefix !== undefined)
  if (!(await verifyTree(options, head, prefixes))) {
    const message =
      'all entries and hashes agree with each other, but not with the root that the checkpoint signs'
    throw new LogFault('AUDIT_RANGE_CHANGED', message, narrowed(head, known))
  }
  if (earlier !== undefined && earlier.size > head.size) {
    const message = `the log has ${head.size} entries, the trusted checkpoint ${earlier.size}`
    throw new LogFault('AUDIT_CUT', message, { index: head.size, end: earlier.size })
  }
  const split = other && (await firstDifference({ read, head }, other))
  if (split !== undefined) {
    const message = `the other copy holds another entry ${split}`
    throw new LogFault('AUDIT_FORKED', message, { index: split, end: split + 1n })
  }
  const forked = prefixes.find((prefix) => prefix.head.size <= head.size && !isPrefix(prefix))?.head
  if (forked !== undefined) {
    const message = `the first ${forked.size} entries do not give the root that was signed for them`
    throw new LogFault('AUDIT_FORKED', message, { index: 0n, end: forked.size })
  }
  if (other === undefined) return head
  if (other.head.size > head.size) await verifyLonger(options, head, other, verifier)
  return { ...head, other: other.head }
}

/** A log that is shorter than its copy was cut. A copy may be the older of two: then the newer one must be whole and begin with it. */
async function verifyLonger(
  { publicKey, isLive = false, read }: VerifyOptions,
  head: Checkpoint,
  other: Copy,
  verifier: NoteVerifier,
): Promise<void> {
  if (isLive) {
    const message = `the log has ${head.size} entries, the other copy ${other.head.size}`
    throw new LogFault('AUDIT_CUT', message, { index: head.size, end: other.head.size })
  }
  try {
    await verifyFiles({ publicKey, read: other.read, against: read }, verifier)
  } catch (error) {
    if (!(error instanceof LogFault) || error.code === 'AUDIT_FORKED') throw error
    throw new LogFault('AUDIT_OTHER_INVALID', `the other copy: ${error.message}`, error.range, error)
  }
}

/** Where entries changed together with all their hashes can be: beyond a trusted prefix that is intact, or within it. */
function narrowed({ size }: Checkpoint, known: Prefix | undefined): FaultRange {
  if (known === undefined || known.head.size > size) return { index: 0n, end: size }
  return isPrefix(known) ? { index: known.head.size, end: size } : { index: 0n, end: known.head.size }
}

function openHead(code: LogFaultCode, note: Uint8Array | undefined, verifier: NoteVerifier): Checkpoint {
  if (note === undefined) throw new LogFault(code, 'there is no checkpoint')
  try {
    return openCheckpoint(note, verifier)
  } catch (error) {
    if (!(error instanceof AuditError)) throw error
    throw new LogFault(code, error.message, undefined, error)
  }
}

/** Whether hashes, put in the place of a tile's, give the hash that is known from above. */
type Agrees = (hashes: readonly Hash[]) => boolean

type Visit = (tile: HashTile, hashes: readonly Hash[], agrees: Agrees) => Promise<void>

interface HashTile extends Tile {
  readonly level: number
}

/**
 * Goes down from the tiles of the right edge, which together give the root, to every entry, from left to right.
 *
 * @returns whether the tree, in itself without a fault, has the root that the checkpoint signs
 */
async function verifyTree(
  options: VerifyOptions,
  head: Checkpoint,
  prefixes: readonly Prefix[],
): Promise<boolean> {
  const { read, onProgress } = options
  const visit: Visit = async (tile, hashes, agrees) => {
    for (const prefix of prefixes) notePrefix(prefix, tile, hashes)
    if (tile.level > 0) return visitChildren(tile, hashes, agrees)
    await verifyEntries(read, tile, hashes, agrees)
    onProgress?.(rangeOf(tile).end, head.size)
  }
  const visitChildren: Visit = async (tile, hashes, agrees) => {
    for (const [i, hash] of hashes.entries()) {
      const index = tile.index * BigInt(TILE_WIDTH) + BigInt(i)
      const child: HashTile = { level: tile.level - 1, index, width: TILE_WIDTH }
      const below = await readHashTile(read, child)
      await visit(child, below, (candidate) => equalHashes(treeHash(candidate), hash))
      const root = treeHash(below)
      if (!equalHashes(root, hash)) throw disagreement(tile, i, agrees(hashes.with(i, root)))
    }
  }

  const edge = await readEdge(read, head.size)
  const isRoot = (tiles: readonly EdgeTile[]): boolean => equalHashes(edgeRoot(tiles), head.root)
  for (const [i, { tile, hashes }] of edge.entries()) {
    if (hashes instanceof LogFault) throw hashes
    await visit(tile, hashes, (candidate) => isRoot(edge.with(i, { tile, hashes: candidate })))
  }
  return isRoot(edge)
}

/** Compares entries with their hashes, each before the next is looked for: a changed length moves all after it. */
async function verifyEntries(
  read: FileReader,
  tile: HashTile,
  hashes: readonly Hash[],
  agrees: Agrees,
): Promise<void> {
  const { bytes, isLonger } = await readEntries(read, tile)
  let offset = 0
  for (const [i, hash] of hashes.entries()) {
    const entry = entryAt(bytes, offset)
    if (entry === undefined)
      throw new LogFault('AUDIT_CUT', `the log ends in entry ${nth(tile, i)}`, rangeOf(tile, i))
    if (!equalHashes(leafHash(entry), hash)) {
      if (agrees(entryHashes(bytes, tile.width))) throw disagreement(tile, i, true)
      throw new LogFault(
        'AUDIT_ENTRY_CHANGED',
        `entry ${nth(tile, i)} is not what was logged`,
        rangeOf(tile, i),
      )
    }
    offset += 2 + entry.length
  }
  if (offset !== bytes.length && !isLonger) {
    const last = tile.width - 1
    throw new LogFault('AUDIT_ENTRY_CHANGED', `bytes follow entry ${nth(tile, last)}`, rangeOf(tile, last))
  }
}

function entryHashes(bundle: Uint8Array, width: number): Hash[] {
  try {
    return decodeEntryBundle(bundle, width).map(leafHash)
  } catch {
    return []
  }
}

function nth(tile: HashTile, hash: number): bigint {
  return rangeOf(tile, hash).index
}

function disagreement(tile: HashTile, hash: number, isTileAlone: boolean): LogFault {
  const range = rangeOf(tile, hash)
  return isTileAlone
    ? new LogFault(
        'AUDIT_TILE_CHANGED',
        `${tilePath(tile)}: hash ${hash} is wrong, what it covers is intact`,
        range,
      )
    : new LogFault(
        'AUDIT_RANGE_CHANGED',
        `${tilePath(tile)}: hash ${hash} is not that of what it covers`,
        range,
      )
}

/** A tile of the right edge, or why it could not be read: told when its turn comes, after what lies left of it. */
interface EdgeTile {
  readonly tile: HashTile
  readonly hashes: readonly Hash[] | LogFault
}

/** The partial tiles of a tree, highest level, which is leftmost, first. */
async function readEdge(read: FileReader, size: bigint): Promise<EdgeTile[]> {
  const edge: EdgeTile[] = []
  for (const tile of edgeTiles(size)) {
    const hashes = await readHashTile(read, tile).catch((error: unknown) => {
      if (error instanceof LogFault) return error
      throw error
    })
    edge.push({ tile, hashes })
  }
  return edge
}

/** A tree of size s has at level l a partial tile of floor(s / 256^l) mod 256 hashes, unless that is 0. */
function edgeTiles(size: bigint): HashTile[] {
  const tiles: HashTile[] = []
  for (let level = 0; size >> BigInt(8 * level) > 0n; level++) {
    const hashes = size >> BigInt(8 * level)
    const width = Number(hashes % BigInt(TILE_WIDTH))
    if (width > 0) tiles.unshift({ level, index: hashes / BigInt(TILE_WIDTH), width })
  }
  return tiles
}

/** The root of the tree; of nothing that is signed while a tile of its edge is missing. */
function edgeRoot(edge: readonly EdgeTile[]): Hash {
  let right: Hash | undefined
  for (const { hashes } of edge.toReversed()) {
    if (hashes instanceof LogFault) return new Uint8Array()
    right = treeHash(right === undefined ? hashes : [...hashes, right])
  }
  return right ?? EMPTY_ROOT
}

/** The edge that the tree had when it was as large as an earlier head, filled in as its tiles pass by. */
interface Prefix {
  readonly head: Checkpoint
  readonly edge: EdgeTile[]
}

function startPrefix(head: Checkpoint): Prefix {
  return { head, edge: [] }
}

function notePrefix({ head, edge }: Prefix, { level, index }: HashTile, hashes: readonly Hash[]): void {
  const tile = edgeTiles(head.size).find((own) => own.level === level && own.index === index)
  if (tile !== undefined) edge.push({ tile, hashes: hashes.slice(0, tile.width) })
}

function isPrefix({ head, edge }: Prefix): boolean {
  return equalHashes(edgeRoot(edge.toSorted((a, b) => b.tile.level - a.tile.level)), head.root)
}

interface Copy {
  readonly read: FileReader
  readonly head: Checkpoint
}

/** The first entry, of those that both copies have, whose hash is not the same in both. */
async function firstDifference(own: Copy, other: Copy): Promise<bigint | undefined> {
  const size = own.head.size < other.head.size ? own.head.size : other.head.size
  for (let index = 0n; index * BigInt(TILE_WIDTH) < size; index++) {
    const mine = await readHashTile(own.read, levelZero(index, own.head.size))
    const theirs = await readHashTile(other.read, levelZero(index, other.head.size)).catch(
      (error: unknown) => {
        if (!(error instanceof LogFault)) throw error
        throw new LogFault('AUDIT_OTHER_INVALID', `the other copy: ${error.message}`, error.range, error)
      },
    )
    const i = mine.findIndex((hash, i) => !equalHashes(hash, theirs[i] ?? hash))
    if (i >= 0) return index * BigInt(TILE_WIDTH) + BigInt(i)
  }
  return undefined
}

function levelZero(index: bigint, size: bigint): HashTile {
  const left = size - index * BigInt(TILE_WIDTH)
  return { level: 0, index, width: left < TILE_WIDTH ? Number(left) : TILE_WIDTH }
}
