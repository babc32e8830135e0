import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, extname, join } from 'node:path'
import type { BlockDevice, ByteSource, Extent } from '#core/block/block-device.ts'
import {
  detectFormat,
  type FoundParent,
  ImageError,
  type ImageFormat,
  openRaw,
  openVhd,
  openVhdx,
  type ParentReference,
  type ResolveParent,
} from '#core/image/index.ts'
import { fileSource } from './file-source.ts'
import { convertToRaw, mapRawFile } from './qemu-img.ts'

export interface OpenDiskFileOptions {
  /** What the file is; found out when not given, which somebody who writes into a raw disk can influence. */
  readonly format?: ImageFormat
  /** Folders in which parents of differencing disks are looked for, beside the disk's own. */
  readonly parentFolders?: readonly string[]
  /** It is checked and unpacked by qemu-img first, which takes as long as copying it. */
  readonly onUnpack?: (format: ImageFormat) => void
  readonly signal?: AbortSignal
}

export interface DiskFile {
  readonly format: ImageFormat
  /** Read-only. */
  readonly device: BlockDevice
}

/**
 * Opens a file that holds a disk. qcow2 and VMDK are converted into a temporary file first.
 *
 * @throws {DiskFileError} {ImageError}
 */
export async function openDiskFile(path: string, options: OpenDiskFileOptions = {}): Promise<DiskFile> {
  await using opened = new AsyncDisposableStack()
  const source = opened.use(await fileSource(path))
  const format = options.format ?? (await formatOf(source, path, options.signal))
  const resolveParent: ResolveParent = (reference, isParent) =>
    findParent(reference, isParent, [dirname(path), ...(options.parentFolders ?? [])])
  const unpacked = (unpackedFormat: 'qcow2' | 'vmdk'): Promise<BlockDevice> => {
    options.onUnpack?.(unpackedFormat)
    return openConverted(source, path, unpackedFormat, options.signal)
  }
  const openers: Readonly<Record<ImageFormat, () => Promise<BlockDevice>>> = {
    vhd: () => openVhd(source, { resolveParent }),
    vhdx: () => openVhdx(source, { resolveParent }),
    raw: () => openMapped(source, path, options.signal),
    qcow2: () => unpacked('qcow2'),
    vmdk: () => unpacked('vmdk'),
  }
  const device = await openers[format]()
  opened.move()
  return { format, device }
}

/** A fixed VHD that is cut off has lost all that would tell it from a raw disk, but for its name. */
async function formatOf(source: ByteSource, path: string, signal?: AbortSignal): Promise<ImageFormat> {
  const format = await detectFormat(source, signal)
  const named = extname(path).slice(1).toLowerCase()
  if (format !== 'raw' || !['vhd', 'vhdx', 'qcow2', 'vmdk'].includes(named)) return format
  throw new ImageError('IMAGE_UNKNOWN_FORMAT', `${path} is named as ${named}, and is none`, {
    remedy: 'Copy the file again: it is cut off, or damaged. If it is a raw disk indeed, say --format raw.',
  })
}

/**
 * A parent is looked for by the file name that the child knows, in the child's folder and those that were named: a
 * path in a disk image is a stranger's word and is never followed.
 */
async function findParent(
  { paths }: ParentReference,
  isParent: (found: FoundParent) => Promise<boolean>,
  folders: readonly string[],
): Promise<FoundParent | undefined> {
  const names = [...new Set(paths.map(({ path }) => basename(path.replaceAll('\\', '/'))))]
  let another: string | undefined
  for (const file of folders.flatMap((folder) => names.map((name) => join(folder, name)))) {
    if ((await stat(file).catch(() => undefined))?.isFile() !== true) continue
    const found = await foundParent(file)
    if (await isParent(found)) return found
    await found.source[Symbol.asyncDispose]()
    another ??= file
  }
  // Whoever asked says what is wrong with it.
  return another === undefined ? undefined : foundParent(another)
}

async function foundParent(file: string): Promise<FoundParent> {
  return { source: await fileSource(file), modifiedSeconds: (await stat(file)).mtimeMs / 1000 }
}

/** A raw file with the holes that its file system knows. */
async function openMapped(
  source: ByteSource,
  path: string,
  signal: AbortSignal | undefined,
): Promise<BlockDevice> {
  const device = openRaw(source)
  const { blocks, size } = await stat(path)
  const isSparse = blocks * 512 < size
  const map = isSparse ? await mapRawFile(path, signal) : undefined
  return map === undefined
    ? device
    : { ...device, extents: async (offset, length) => cut(map, Number(offset), length) }
}

/** The part of a map that lies in a range. */
function cut(map: readonly Extent[], offset: number, length: number): readonly Extent[] {
  const extents: { length: number; kind: Extent['kind'] }[] = []
  let at = 0
  for (const extent of map) {
    const from = Math.max(at, offset)
    const to = Math.min(at + extent.length, offset + length)
    at += extent.length
    if (from >= to) continue
    const last = extents.at(-1)
    if (last?.kind === extent.kind) last.length += to - from
    else extents.push({ length: to - from, kind: extent.kind })
  }
  return extents
}

async function openConverted(
  source: ByteSource,
  path: string,
  format: 'qcow2' | 'vmdk',
  signal: AbortSignal | undefined,
): Promise<BlockDevice> {
  await source[Symbol.asyncDispose]()
  const folder = await mkdtemp(join(tmpdir(), 'trustcast-convert-'))
  try {
    const raw = join(folder, 'disk.raw')
    await convertToRaw(path, format, raw, signal)
    return await openMapped(await fileSource(raw), raw, signal)
  } finally {
    // It is there as long as it is open, and gone however this process ends.
    await rm(folder, { recursive: true, force: true })
  }
}
