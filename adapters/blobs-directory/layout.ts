import { access, constants, mkdir, readdir, readFile, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import {
  type BlobDigest,
  BlobError,
  digestHex,
  emptyOciIndex,
  encodeOciIndex,
  layoutVersion,
  maximumIndexBytes,
  requireLayoutVersion,
} from '#core/blobs/index.ts'
import { encodeUtf8 } from '#core/bytes/index.ts'
import { makeFile, syncFolder } from './durable.ts'
import { unless } from './file-error.ts'

/**
 * An OCI image layout in a folder. Spec: OCI image-spec "Image Layout Specification".
 *
 * ```
 * oci-layout               {"imageLayoutVersion":"1.0.0"}
 * index.json               names of images and the digests of their manifests
 * blobs/sha256/<hex>       manifests, configs and layers
 * .trustcast/lock          who changes index.json or deletes blobs holds it
 * .trustcast/new/          files that are being written
 * .trustcast/pins/<uuid>   digests that a reader needs; believed for five minutes after its last change
 * .trustcast/trash/<hex>   blobs between being taken out and being deleted
 * ```
 */
export interface Layout {
  readonly root: string
  readonly blobs: string
  readonly index: string
  readonly lock: string
  readonly aside: string
  readonly pins: string
  readonly trash: string
}

/** What a layout that is only half made may consist of. */
const ownNames: ReadonlySet<string> = new Set(['.trustcast', 'blobs', 'index.json', 'lost+found'])

/**
 * @param isNew makes a layout where there is none, in an empty folder or one that is not there yet
 * @throws {BlobError} BLOB_BAD_STORE, BLOB_WRONG_ANSWER when it is a layout of another version
 */
export async function openLayout(path: string, isNew: boolean): Promise<Layout> {
  const layout = layoutIn(resolve(path))
  const version = await unless(['ENOENT'], readFile(join(layout.root, 'oci-layout')))
  if (version !== undefined) requireLayoutVersion(version)
  else if (isNew) await makeLayout(layout)
  else {
    throw new BlobError('BLOB_BAD_STORE', `${layout.root} is no OCI image layout`, {
      remedy: 'Name the folder that holds the file oci-layout.',
    })
  }
  return layout
}

export function blobPath({ blobs }: Layout, digest: BlobDigest): string {
  return join(blobs, digestHex(digest))
}

/** @throws {BlobError} BLOB_WRONG_ANSWER when it is too long to be read */
export async function readIndex({ index }: Layout): Promise<Uint8Array> {
  const size = (await unless(['ENOENT'], stat(index)))?.size
  // Another program may have been killed between oci-layout and index.json.
  if (size === undefined) return encodeOciIndex(emptyOciIndex)
  if (size > maximumIndexBytes) {
    throw new BlobError(
      'BLOB_WRONG_ANSWER',
      `${index}: expected at most ${maximumIndexBytes} bytes, got ${size}`,
    )
  }
  return await readFile(index)
}

export async function isWritable({ root, blobs }: Layout): Promise<boolean> {
  const denied = ['EACCES', 'EPERM', 'EROFS', 'ENOENT']
  const answers = [root, blobs].map((path) =>
    unless(
      denied,
      access(path, constants.W_OK).then(() => true),
    ),
  )
  return (await Promise.all(answers)).every((isAllowed) => isAllowed === true)
}

function layoutIn(root: string): Layout {
  const own = join(root, '.trustcast')
  return {
    root,
    blobs: join(root, 'blobs', 'sha256'),
    index: join(root, 'index.json'),
    lock: join(own, 'lock'),
    aside: join(own, 'new'),
    pins: join(own, 'pins'),
    trash: join(own, 'trash'),
  }
}

/** `oci-layout` comes last: with it the layout is whole. Two that make the same layout do not harm each other. */
async function makeLayout(layout: Layout): Promise<void> {
  await mkdir(layout.root, { recursive: true })
  const stranger = (await readdir(layout.root)).find((name) => !ownNames.has(name))
  if (stranger !== undefined) {
    throw new BlobError('BLOB_BAD_STORE', `${layout.root} is no OCI image layout and holds ${stranger}`, {
      remedy: 'Name an empty folder, or one that is not there yet.',
    })
  }
  await mkdir(layout.blobs, { recursive: true })
  await makeFile(layout.index, encodeOciIndex(emptyOciIndex), layout.aside)
  await makeFile(join(layout.root, 'oci-layout'), encodeUtf8(layoutVersion), layout.aside)
  for (const folder of [layout.blobs, dirname(layout.blobs), dirname(layout.root)]) await syncFolder(folder)
}
