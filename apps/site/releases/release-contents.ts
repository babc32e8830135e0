import { imageOf, releaseRow } from '#adapters/store-postgres/index.ts'
import { decodeManifest } from '#core/artifact/index.ts'
import type { Site } from '../site.ts'
import type { PublishedRelease } from './directing.ts'

/** Signed content never changes: what was read once by its digest is remembered, for so many releases. */
const mostRemembered = 1_000
const remembered = new Map<string, boolean>()

/** Whether people have signed a virtual machine with a release. */
export async function describesVm(site: Site, release: PublishedRelease): Promise<boolean> {
  const { name, version, manifestDigest } = release
  const known = remembered.get(manifestDigest)
  if (known !== undefined) return known
  const { db } = site.store
  const content = (await releaseRow(db, name, version))?.content_version ?? version
  const image = await imageOf(db, name, content)
  if (image?.manifest_digest !== manifestDigest) return false
  const describes = decodeManifest(image.manifest).vm !== undefined
  if (remembered.size >= mostRemembered) remembered.clear()
  remembered.set(manifestDigest, describes)
  return describes
}
