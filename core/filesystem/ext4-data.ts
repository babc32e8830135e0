import { type Inode, type Volume, viewOf } from './ext4-volume.ts'
import { corrupt } from './file-system-error.ts'

/** Blocks of a file that lie one after another; what no run covers is zeros. */
export interface Run {
  /** Block of the file. */
  readonly from: number
  /** Block of the volume. */
  readonly at: number
  readonly count: number
}

const maximumDepth = 5
const maximumRuns = 1_000_000
/** Blocks that say where blocks are, of one file: more than one of 16 TiB in pieces of 128 MiB has by far. */
const maximumTables = 100_000
const directBlocks = 12

/**
 * Where a file's data lies, in order.
 *
 * @throws {FileSystemError} FILES_CORRUPT
 */
export async function runsOf(volume: Volume, inode: Inode, signal?: AbortSignal): Promise<readonly Run[]> {
  const blocks = Math.ceil(inode.sizeBytes / volume.blockBytes)
  const runs: Run[] = []
  const add = (run: Run): void => {
    const last = runs.at(-1)
    const end = last === undefined ? 0 : last.from + last.count
    // What lies beyond the end of the file was set aside for it and belongs to nothing.
    const count = Math.min(run.count, blocks - run.from)
    if (count <= 0) return
    if (run.from < end || run.at + count > volume.blocks)
      throw corrupt(`inode ${inode.number} overlaps itself`)
    if (runs.length >= maximumRuns) throw corrupt(`inode ${inode.number} is in too many pieces`)
    if (last !== undefined && end === run.from && last.at + last.count === run.at)
      runs[runs.length - 1] = { ...last, count: last.count + count }
    else runs.push({ ...run, count })
  }
  let tables = 0
  const readTable: ReadTable = async (block) => {
    if (++tables > maximumTables) throw corrupt(`inode ${inode.number} is in too many pieces`)
    return volume.readBlocks(block, 1, signal)
  }
  if (inode.hasExtents) await addExtents(readTable, inode, inode.block, maximumDepth, add)
  else await addMapped(readTable, volume.blockBytes, inode, blocks, add)
  return runs
}

type ReadTable = (block: number) => Promise<Uint8Array>

/** Extent tree: header {magic, entries, max, depth, generation}, then entries of 12 bytes. */
async function addExtents(
  readTable: ReadTable,
  inode: Inode,
  node: Uint8Array,
  deepest: number,
  add: (run: Run) => void,
): Promise<void> {
  const view = viewOf(node)
  const [entries, depth] = [view.getUint16(2, true), view.getUint16(6, true)]
  if (view.getUint16(0, true) !== 0xf30a || depth > deepest || 12 + entries * 12 > node.length)
    throw corrupt(`inode ${inode.number} has no extent tree`)
  for (let at = 12; at < 12 + entries * 12; at += 12) {
    const from = view.getUint32(at, true)
    if (depth > 0) {
      const child = view.getUint32(at + 4, true) + view.getUint16(at + 8, true) * 2 ** 32
      await addExtents(readTable, inode, await readTable(child), depth - 1, add)
      continue
    }
    const length = view.getUint16(at + 4, true)
    // Longer ones are set aside and read as zeros.
    if (length <= 32_768)
      add({ from, at: view.getUint32(at + 8, true) + view.getUint16(at + 6, true) * 2 ** 32, count: length })
  }
}

/** Block map of ext2 and ext3: 12 blocks, then one, two and three levels of blocks of numbers. */
async function addMapped(
  readTable: ReadTable,
  blockBytes: number,
  { block }: Inode,
  blocks: number,
  add: (run: Run) => void,
): Promise<void> {
  const view = viewOf(block)
  const perBlock = blockBytes / 4
  const addLevel = async (number: number, from: number, level: number): Promise<void> => {
    if (number === 0 || from >= blocks) return
    if (level === 0) return add({ from, at: number, count: 1 })
    const table = viewOf(await readTable(number))
    const span = perBlock ** (level - 1)
    for (let index = 0; index < perBlock && from + index * span < blocks; index++)
      await addLevel(table.getUint32(index * 4, true), from + index * span, level - 1)
  }
  for (let index = 0; index < directBlocks; index++) await addLevel(view.getUint32(index * 4, true), index, 0)
  let from = directBlocks
  for (const level of [1, 2, 3]) {
    await addLevel(view.getUint32((directBlocks + level - 1) * 4, true), from, level)
    from += perBlock ** level
  }
}

/** Reads a part of a file whose data lies as `runs`, in order, say; `from` and `count` are blocks of the volume. */
export async function readRuns(
  volume: Volume,
  runs: readonly Run[],
  from: number,
  count: number,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(count * volume.blockBytes)
  for (let index = firstEndingAfter(runs, from); index < runs.length; index++) {
    const run = runs[index]
    if (run === undefined || run.from >= from + count) break
    const [start, end] = [Math.max(from, run.from), Math.min(from + count, run.from + run.count)]
    const part = await volume.readBlocks(run.at + start - run.from, end - start, signal)
    bytes.set(part, (start - from) * volume.blockBytes)
  }
  return bytes
}

function firstEndingAfter(runs: readonly Run[], block: number): number {
  let [low, high] = [0, runs.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    const run = runs[middle]
    if (run !== undefined && run.from + run.count <= block) low = middle + 1
    else high = middle
  }
  return low
}
