import { open, realpath, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { ImageError } from '#core/image/index.ts'
import { DiskFileError } from './errors.ts'
import { qemuImg, qemuMap } from './run-qemu-img.ts'

/**
 * A disk as QEMU is told to open it. Names are absolute and given as names of files, so that none is taken for an
 * address or for options; formats are given, so that none is guessed.
 *
 * Source: QEMU's manual of blockdev options (qapi/block-core.json), BlockdevOptionsQcow2 and BlockdevOptionsVMDK
 */
export interface DiskLayer {
  readonly driver: LayerFormat
  readonly file: { readonly filename: string }
  readonly 'data-file'?: { readonly filename: string }
  /** What lies under it; null for nothing, whatever the file says. A raw file has none. */
  readonly backing?: DiskLayer | null
}

const formats = ['raw', 'qcow2', 'vmdk'] as const
type LayerFormat = (typeof formats)[number]

/** Chains are short: each layer makes reading slower. */
const maximumLayers = 64

/**
 * Reads what a disk consists of, one layer after the other: `qemu-img info` opens no backing file. Whatever a layer
 * names must lie in the folder of the disk, and each must be as long as it says: QEMU reads zeros beyond the end of a file.
 *
 * @param path of the disk, without symbolic links
 * @throws {DiskFileError} DISK_FILE_TOOL_MISSING, DISK_FILE_NOT_CONVERTED, DISK_FILE_DAMAGED, DISK_FILE_PART_MISSING
 * @throws {ImageError} IMAGE_CHAIN_CYCLIC, IMAGE_CHAIN_TOO_LONG, IMAGE_PARENT_MISMATCH
 */
export async function readLayers(
  path: string,
  format: LayerFormat,
  signal?: AbortSignal,
  above: readonly Above[] = [],
): Promise<DiskLayer> {
  const file = { filename: path }
  if (above.some((disk) => disk.path === path))
    throw new ImageError('IMAGE_CHAIN_CYCLIC', `${path} lies under itself`)
  if (above.length >= maximumLayers) {
    throw new ImageError('IMAGE_CHAIN_TOO_LONG', `more than ${maximumLayers} disks lie over ${path}`, {
      remedy: 'Make one file of them first: qemu-img convert.',
    })
  }
  if (format === 'raw') return { driver: format, file }
  const info = JSON.parse(await qemuImg(['info', '--output=json', '-f', format, path], path, signal)) as Info
  const {
    cid,
    'parent-cid': parentCid,
    extents = [],
    'data-file': data,
  } = info['format-specific']?.data ?? {}
  requireParent(path, cid, above.at(-1))
  if (format === 'qcow2') await requireLength(path, await levelOneEnd(path))
  for (const { filename, format: kind, 'virtual-size': sizeBytes } of extents) {
    const extent = await besides(path, filename)
    if (kind === 'FLAT') await requireLength(extent, sizeBytes)
  }
  const dataFile = data === undefined ? undefined : await besides(path, data)
  if (dataFile !== undefined) await requireLength(dataFile, info['virtual-size'])
  const layer = {
    driver: format,
    file,
    ...(dataFile !== undefined && { 'data-file': { filename: dataFile } }),
  }
  await requireSound({ ...layer, backing: null }, path, signal)
  if (dataFile === undefined && extents.every(({ filename }) => filename === path))
    await requireDataInside({ ...layer, backing: null }, path, signal)
  if (format === 'qcow2') await requireLength(path, await compressedEnd(path))
  const backing = info['backing-filename']
  if (backing === undefined) return { ...layer, backing: null }
  const under = [...above, { path, parentCid }]
  return {
    ...layer,
    backing: await readLayers(await besides(path, backing), formatOf(info, path), signal, under),
  }
}

/** A disk that lies over another. */
interface Above {
  readonly path: string
  /** What a VMDK says the content of its parent is; changes when that is written to. */
  readonly parentCid: number | undefined
}

interface Info {
  readonly 'virtual-size': number
  readonly 'backing-filename'?: string
  readonly 'backing-filename-format'?: string
  readonly 'format-specific'?: {
    readonly data?: {
      readonly 'data-file'?: string
      readonly cid?: number
      readonly 'parent-cid'?: number
      readonly extents?: readonly {
        readonly filename: string
        /** FLAT for plain bytes, and for others what their disk says, or nothing. */
        readonly format: string
        readonly 'virtual-size': number
      }[]
    }
  }
}

/** @returns the file of the disk's folder that a name means, without symbolic links */
async function besides(path: string, name: string): Promise<string> {
  const folder = dirname(path)
  // QEMU takes what stands before a colon for a protocol, unless a slash stands before that.
  const isPlain = name.startsWith('/') || !name.includes(':')
  const file = isPlain ? await realpath(resolve(folder, name)).catch(() => undefined) : undefined
  if (file !== undefined && dirname(file) === folder) return file
  throw new DiskFileError(
    'DISK_FILE_PART_MISSING',
    `${path} cannot be read as a disk: it names ${name}, which is not a file beside it`,
    { remedy: 'Put that file beside it, or make one file of both where they are: qemu-img convert.' },
  )
}

function requireParent(path: string, cid: number | undefined, child: Above | undefined): void {
  if (child?.parentCid === undefined || cid === undefined || child.parentCid === cid) return
  throw new ImageError(
    'IMAGE_PARENT_MISMATCH',
    `expected ${path} with content ${child.parentCid} under ${child.path}, got ${cid}`,
    { remedy: 'Use the parent as it was when the child was made.' },
  )
}

/**
 * Where the table ends that leads to all others: beyond the end of the file it is zeros to qemu-img, and the disk a blank one.
 *
 * Spec: QEMU docs/interop/qcow2.txt "Header": l1_size u32 at 36, in entries of 8 bytes | l1_table_offset u64 at 40
 */
async function levelOneEnd(path: string): Promise<number> {
  await using file = await open(path)
  const header = Buffer.alloc(48)
  await file.read(header, 0, header.length, 0)
  return Number(header.readBigUInt64BE(40)) + header.readUInt32BE(36) * 8
}

/**
 * Where compressed clusters end, but for the rest of the last sector, which not every program writes. Of one that is cut off QEMU unpacks
 * what is there and zeros, which makes something more often than not.
 *
 * Spec: QEMU docs/interop/qcow2.txt "Header": cluster_bits u32 at 20, incompatible_features u64 at 72; "Cluster mapping"
 */
async function compressedEnd(path: string): Promise<number> {
  await using file = await open(path)
  const words = async (position: number, length: number): Promise<DataView> => {
    const bytes = new Uint8Array(length)
    await file.read(bytes, 0, length, position)
    return new DataView(bytes.buffer)
  }
  const header = await words(0, 80)
  const isExtended = header.getUint32(4) > 2 && (header.getUint32(76) & 0x10) !== 0
  const clusterBits = header.getUint32(20)
  const sectorsAt = BigInt(70 - clusterBits)
  const levelOne = await words(Number(header.getBigUint64(40)), header.getUint32(36) * 8)
  let end = 0n
  for (let slot = 0; slot < levelOne.byteLength; slot += 8) {
    const tableAt = levelOne.getBigUint64(slot) & 0x00ff_ffff_ffff_fe00n
    const table = await words(Number(tableAt), tableAt === 0n ? 0 : 2 ** clusterBits)
    for (let at = 0; at < table.byteLength; at += isExtended ? 16 : 8) {
      if ((table.getUint8(at) & 0x40) === 0) continue
      const entry = table.getBigUint64(at) & 0x3fff_ffff_ffff_ffffn
      const sectors = (entry & ((1n << sectorsAt) - 1n)) / 512n + (entry >> sectorsAt)
      if (sectors * 512n > end) end = sectors * 512n
    }
  }
  return Number(end) + 1
}

async function requireLength(path: string, sizeBytes: number): Promise<void> {
  const { size } = await stat(path)
  if (size < sizeBytes) throw damaged(path, `expected ${sizeBytes} bytes, got ${size}`)
}

/** What `qemu-img check` ends with when all that is wrong is room that nobody uses. */
const leaksOnly = 3

async function requireSound(layer: DiskLayer, path: string, signal: AbortSignal | undefined): Promise<void> {
  try {
    await qemuImg(['check', '-q', `json:${JSON.stringify(layer)}`], path, signal)
  } catch (error) {
    if (!(error instanceof DiskFileError) || error.code !== 'DISK_FILE_NOT_CONVERTED') throw error
    if ((error.cause as { code?: unknown }).code === leaksOnly) return
    throw damaged(path, error.message, error)
  }
}

/** `qemu-img check` looks where clusters begin: what is cut off of the last one is zeros to QEMU. */
async function requireDataInside(
  layer: DiskLayer,
  path: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  let end = 0
  for (const { length, zero, offset } of (await qemuMap([`json:${JSON.stringify(layer)}`], signal)) ?? [])
    if (!zero && offset !== undefined) end = Math.max(end, offset + length)
  await requireLength(path, end)
}

function damaged(path: string, why: string, cause?: unknown): DiskFileError {
  return new DiskFileError('DISK_FILE_DAMAGED', `${path} is cut off, or damaged: ${why}`, {
    cause,
    remedy:
      'Copy the file again, while no machine uses it. If it is so where it comes from, try qemu-img check -r all on a copy there.',
  })
}

function formatOf({ 'backing-filename-format': name }: Info, path: string): LayerFormat {
  const format = formats.find((known) => known === name)
  if (format !== undefined) return format
  throw new DiskFileError(
    'DISK_FILE_NOT_CONVERTED',
    `${path} cannot be read as a disk: the disk under it is ${name ?? 'of no named format'}, and expected was one of ${formats.join(', ')}`,
    { remedy: 'Make one file of it first: qemu-img convert.' },
  )
}
