import { randomUUID } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { SlotMap } from '#core/block/slot-map.ts'
import type { SlotStore } from '#core/block/slot-store.ts'
import { FileSlots } from './file-slots.ts'
import { lockFile } from './folder-lock.ts'
import { Journal, type JournalOptions, journalName } from './journal.ts'
import { decodeHeader, unitBytes } from './journal-format.ts'
import { filesDamaged } from './overlay-file-error.ts'
import { diskFolder, type OverlayFile, type OverlayFolder } from './overlay-folder.ts'
import { deriveKeys, takeSecret } from './overlay-keys.ts'
import { type FillRandom, SlotCipher, sealedBytes } from './slot-cipher.ts'
import { SlotSpace } from './slot-space.ts'

const dataName = 'data'
export const lockName = 'lock'
const keyBytes = 32
const idBytes = 16

export interface DiscardedSlotsOptions {
  /** Where the temporary file is made. It has no name there for longer than a moment. */
  readonly folder: string
  /** How many blocks the disk has. */
  readonly blocks: number
  /** Most bytes of data; absent: as much as there is room for. */
  readonly maximumBytes?: number
  readonly random: FillRandom
}

/**
 * Blocks in a file that is gone when it is closed or the process ends. It is sealed under a random key that is nowhere
 * but in memory: what is left of it on the disk cannot be read.
 */
export async function openDiscardedSlots(
  options: DiscardedSlotsOptions,
): Promise<SlotStore & { readonly isKept: false }> {
  const { blocks, random } = options
  const folder = await diskFolder(options.folder)
  const name = `overlay-${randomUUID()}`
  const data = await folder.create(name)
  await rm(join(options.folder, name))
  const cipher = new SlotCipher(takeSecret(filled(random, keyBytes)), filled(random, idBytes), random)
  const space = new SlotSpace(mostSlots(options.maximumBytes))
  const slots = new FileSlots({ map: new SlotMap(blocks, true), space, data, cipher })
  return Object.assign(slots, { isKept: false as const })
}

export interface KeptSlotsOptions {
  /** Holds the overlay and nothing else: `data`, `journal`, `lock`. Made if it is missing. */
  readonly folder: string
  readonly blocks: number
  readonly maximumBytes?: number
  /** 32 bytes. */
  readonly key: Uint8Array
  /** What the overlay lies over, exactly: an image's name, version and Merkle root. */
  readonly base: string
  readonly random: FillRandom
  /** A journal of fewer entries is never written anew; absent: 65536, 1 MiB. */
  readonly shortEntries?: number
}

/**
 * Blocks in files that stay. What was flushed outlives the process, killed at any moment, and the loss of power.
 *
 * Blocks are sealed, each in its place, and what says where they are is signed, so that altered, exchanged and removed
 * parts are found. Not found is a whole older state of the folder put back in its place: nothing outside of it says
 * that there was a newer one. A write beside the last durable one may share a sector with it: file systems and disks
 * leave those bytes as they are.
 *
 * @throws {OverlayFileError} OVERLAY_IN_USE, OVERLAY_NO_LOCK, OVERLAY_WRONG_KEY, OVERLAY_OTHER_BASE,
 *   OVERLAY_FILES_DAMAGED; nothing has been changed then
 */
export async function openKeptSlots(options: KeptSlotsOptions): Promise<SlotStore> {
  const folder = await diskFolder(options.folder)
  const lock = await lockFile(join(options.folder, lockName))
  try {
    return await openFolder(folder, options, () => lock.close())
  } catch (error) {
    await lock.close()
    throw error
  }
}

export type OpenFolderOptions = Omit<KeptSlotsOptions, 'folder'>

/** As `openKeptSlots`, of a folder that is locked. */
export async function openFolder(
  folder: OverlayFolder,
  options: OpenFolderOptions,
  onClose: () => Promise<void> = async () => {},
): Promise<FileSlots> {
  if (options.key.length !== keyBytes) throw new RangeError(`expected a key of ${keyBytes} bytes`)
  const map = new SlotMap(options.blocks, true)
  const space = new SlotSpace(mostSlots(options.maximumBytes))
  const files = {
    journal: await folder.open(journalName),
    data: await folder.open(dataName),
  }
  try {
    const { journal, cipher, data } =
      files.journal === undefined
        ? await begin(folder, files.data, options)
        : await takeUp(folder, files.journal, files.data, options, map)
    for (const { block } of map.entries()) {
      const slot = map.slotOf(block)
      if (slot !== undefined) space.occupy(slot)
    }
    return new FileSlots({ map, space, data, cipher, journal, onClose })
  } catch (error) {
    await files.journal?.close()
    await files.data?.close()
    throw error
  }
}

interface Opened {
  readonly journal: Journal
  readonly data: OverlayFile
  readonly cipher: SlotCipher
}

async function begin(
  folder: OverlayFolder,
  existing: OverlayFile | undefined,
  options: OpenFolderOptions,
): Promise<Opened> {
  // There is nothing in it before there is a journal.
  if (existing && (await existing.sizeBytes()) > 0) {
    throw filesDamaged('expected the journal of the overlay beside its data, got none')
  }
  const { key, base, blocks, random } = options
  const overlayId = filled(random, idBytes)
  const keys = deriveKeys(key, overlayId)
  const data = existing ?? (await folder.create(dataName))
  const newGeneration = (): Uint8Array => filled(random, idBytes)
  const journal = await Journal.create(
    { overlayId, generation: newGeneration(), blocks },
    { folder, base, keys, newGeneration, shortEntries: options.shortEntries },
  )
  return { journal, data, cipher: new SlotCipher(keys.data, overlayId, random) }
}

async function takeUp(
  folder: OverlayFolder,
  file: OverlayFile,
  data: OverlayFile | undefined,
  options: OpenFolderOptions,
  map: SlotMap,
): Promise<Opened> {
  const { key, base, blocks, random } = options
  const bytes = new Uint8Array(unitBytes)
  const length = await file.read(bytes, 0)
  const { header, keys } = decodeHeader(bytes.subarray(0, length), { key, base, blocks })
  const journalOptions: JournalOptions = {
    folder,
    base,
    keys,
    newGeneration: () => filled(random, idBytes),
    shortEntries: options.shortEntries,
  }
  const journal = await Journal.open(file, header, journalOptions, (block, slot, rest) => {
    // Both files are made together: power that is lost then may leave a journal alone, with nothing in it.
    if (data === undefined)
      throw filesDamaged('expected the data of the overlay beside its journal, got none')
    const end = block + (slot === undefined ? Number(rest) : 1)
    if (end > blocks) throw filesDamaged(`the journal names block ${end - 1} of ${blocks}`)
    if (slot === undefined) map.setZero(block, Number(rest), () => {})
    else map.setSlot(block, slot, rest)
  })
  const cipher = new SlotCipher(keys.data, header.overlayId, random)
  const there = data ?? (await folder.create(dataName))
  // A process that was killed may have left names that are not on the disk yet.
  await folder.sync()
  return { journal, data: there, cipher }
}

function mostSlots(maximumBytes = Number.POSITIVE_INFINITY): number {
  return Math.min(2 ** 32 - 2, Math.floor(maximumBytes / sealedBytes))
}

function filled(random: FillRandom, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  random(bytes)
  return bytes
}
