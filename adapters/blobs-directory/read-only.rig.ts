/** `read-only.rig.ts FOLDER DIGEST`: prints what works and what does not in a store that cannot be written. */
import { digestOf, formatReference, parseDigest } from '#core/blobs/index.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import { openDirectoryStore } from './index.ts'

const [, , folder = '', digest = ''] = process.argv
await using store = await openDirectoryStore(folder)
const references = await store.references()
const [image] = references
if (image === undefined) throw new Error('expected an image')
const manifest = await store.manifest(image)
if (manifest === undefined) throw new Error('expected a manifest')
const bytes = Buffer.from('new')
const refused = await Promise.allSettled([
  store.put(digestOf(bytes), bytes),
  store.untag(image),
  store.pin([parseDigest(digest)]),
  store.collect({ graceMs: 0, now: Date.now() }),
])
console.log(
  JSON.stringify({
    references: references.map(formatReference),
    manifest: digestOf(manifest),
    size: await store.size(parseDigest(digest)),
    refusals: refused.map((result) =>
      result.status === 'rejected' && isCoded(result.reason) ? result.reason.code : result,
    ),
  }),
)
