import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { isCoded } from '#core/errors/coded-error.ts'
import { maximumManifestBytes } from './blob-store.ts'
import { digestsOf, neededDigests } from './live.ts'
import { mediaTypes } from './media-types.ts'
import {
  decodeOciIndex,
  emptyOciIndex,
  encodeOciIndex,
  findImage,
  layoutVersion,
  requireLayoutVersion,
  withImage,
  withoutImage,
} from './oci-index.ts'
import { type Descriptor, decodeOciManifest, encodeOciManifest, type OciManifest } from './oci-manifest.ts'
import { digestOf } from './reference.ts'

const descriptor = (text: string, mediaType: string = mediaTypes.pack): Descriptor => ({
  mediaType,
  digest: digestOf(Buffer.from(text)),
  size: text.length,
})
const manifest: OciManifest = {
  artifactType: mediaTypes.image,
  config: descriptor('config', mediaTypes.image),
  layers: [
    descriptor('index', mediaTypes.chunkIndex),
    { ...descriptor('pack'), annotations: { b: '2', a: '1' } },
  ],
  annotations: { z: '1', a: '2' },
}
const json = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value))

const annotations = fc.dictionary(fc.string(), fc.string(), { maxKeys: 4 })
const anyDescriptor = fc
  .record({
    mediaType: fc.string({ minLength: 1, maxLength: 255 }),
    digest: fc.string().map((text) => digestOf(Buffer.from(text))),
    size: fc.maxSafeNat(),
    annotations,
  })
  .map(withoutEmpty)
const anyManifest = fc
  .record(
    {
      artifactType: fc.string({ minLength: 1, maxLength: 255 }),
      config: anyDescriptor,
      layers: fc.array(anyDescriptor, { maxLength: 5 }),
      annotations,
    },
    { requiredKeys: ['config', 'layers', 'annotations'] },
  )
  .map(withoutEmpty)

/** Absent annotations and empty ones are the same. */
function withoutEmpty<T extends { annotations: Record<string, string> }>(value: T) {
  const { annotations, ...rest } = value
  return Object.keys(annotations).length === 0 ? rest : value
}

test('decoding what was encoded gives the same manifest', () => {
  fc.assert(
    fc.property(anyManifest, (manifest) => {
      const bytes = encodeOciManifest(manifest)
      expect(decodeOciManifest(bytes)).toEqual(manifest)
      expect(encodeOciManifest(decodeOciManifest(bytes))).toEqual(bytes)
    }),
  )
})

test('the same manifest is the same bytes, in whatever order it was put together', () => {
  const other = { annotations: { a: '2', z: '1' }, layers: manifest.layers, config: manifest.config }
  expect(encodeOciManifest({ ...other, artifactType: mediaTypes.image })).toEqual(encodeOciManifest(manifest))
})

test("another's manifest is decoded as far as it is needed", () => {
  const foreign = {
    schemaVersion: 2,
    subject: 17,
    config: { ...manifest.config, urls: ['https://example'], platform: {} },
    layers: [],
  }
  expect(decodeOciManifest(json(foreign))).toEqual({ config: manifest.config, layers: [] })
})

const good = JSON.parse(Buffer.from(encodeOciManifest(manifest)).toString()) as Record<string, unknown>
test.each([
  ['no JSON', Buffer.from('{')],
  ['no UTF-8', Buffer.from([0x7b, 0xff, 0x7d])],
  ['an array', json([])],
  ['null', json(null)],
  ['another version', json({ ...good, schemaVersion: 1 })],
  ['another type', json({ ...good, mediaType: mediaTypes.index })],
  ['no config', json({ ...good, config: undefined })],
  ['no layers', json({ ...good, layers: undefined })],
  ['a layer that is none', json({ ...good, layers: [null] })],
  [
    'a digest of another kind',
    json({ ...good, config: { ...manifest.config, digest: `sha512:${'0'.repeat(128)}` } }),
  ],
  [
    'a digest that leads elsewhere',
    json({ ...good, config: { ...manifest.config, digest: 'sha256:../../x' } }),
  ],
  ['a negative size', json({ ...good, config: { ...manifest.config, size: -1 } })],
  ['a fraction of a byte', json({ ...good, config: { ...manifest.config, size: 1.5 } })],
  ['a size beyond 2^53', Buffer.from(JSON.stringify(good).replace('"size":6', '"size":9007199254740993'))],
  ['an annotation that is no text', json({ ...good, annotations: { a: 1 } })],
  ['an empty artifact type', json({ ...good, artifactType: '' })],
  ['too many layers', json({ ...good, layers: Array.from({ length: 65_537 }, () => 0) })],
  ['too many bytes', Buffer.alloc(maximumManifestBytes + 1, ' ')],
  ['deep nesting', Buffer.from('['.repeat(1_000_000))],
])('a manifest with %s is refused', (_what, bytes) => {
  expect(() => decodeOciManifest(bytes)).toThrow(expect.objectContaining({ code: 'BLOB_WRONG_ANSWER' }))
  expect(() => neededDigests([bytes])).toThrow()
})

test('a manifest that stores would not take is not encoded', () => {
  const layers = Array.from({ length: 30_000 }, () => descriptor('pack'))
  expect(() => encodeOciManifest({ ...manifest, layers })).toThrow(
    expect.objectContaining({ code: 'BLOB_WRONG_ANSWER' }),
  )
})

test('keys that objects have anyway are keys like others', () => {
  const bytes = Buffer.from(
    `{"schemaVersion":2,"config":${JSON.stringify(manifest.config)},"layers":[],"annotations":{"__proto__":"x"}}`,
  )
  expect(Object.entries(decodeOciManifest(bytes).annotations ?? {})).toEqual([['__proto__', 'x']])
})

test('changed manifests decode or are refused with a code', () => {
  const bytes = encodeOciManifest(manifest)
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.nat(255), fc.nat(bytes.length), (at, value, length) => {
      const changed = Uint8Array.from(bytes).subarray(0, length + 1)
      if (at < changed.length) changed[at] = value
      for (const decode of [decodeOciManifest, decodeOciIndex]) {
        try {
          decode(changed)
        } catch (error) {
          expect(isCoded(error)).toBe(true)
        }
      }
    }),
  )
})

test('an image needs its manifest, its config and its layers, each once', () => {
  const bytes = encodeOciManifest({ ...manifest, layers: [...manifest.layers, ...manifest.layers] })
  const other = encodeOciManifest({ config: manifest.config, layers: [descriptor('more')] })
  expect([...neededDigests([bytes, other])].toSorted()).toEqual(
    [
      digestOf(bytes),
      digestOf(other),
      ...['config', 'index', 'pack', 'more'].map((text) => descriptor(text).digest),
    ].toSorted(),
  )
  expect(digestsOf(manifest).size).toBe(3)
  expect(neededDigests([]).size).toBe(0)
})

test('a name is given, found, given to another manifest and taken away', () => {
  const [one, two] = [descriptor('one', mediaTypes.manifest), descriptor('two', mediaTypes.manifest)]
  const reference = { name: 'debian', version: '1' }
  const index = withImage(withImage(emptyOciIndex, reference, one), { name: 'debian', version: '2' }, one)
  const read = decodeOciIndex(encodeOciIndex(withImage(index, reference, two)))
  expect(findImage(read, reference)?.digest).toBe(two.digest)
  expect(read.entries).toHaveLength(2)
  const rest = withoutImage(read, reference)
  expect(findImage(rest, reference)).toBeUndefined()
  expect(findImage(rest, { name: 'debian', version: '2' })?.digest).toBe(one.digest)
})

test("others' entries are kept as they are; names that are not ours are none", () => {
  const manifests = [
    {
      mediaType: 'x',
      digest: 'md5:0',
      size: 1,
      annotations: { 'org.opencontainers.image.ref.name': 'debian:1' },
    },
    { ...descriptor('one'), annotations: { 'org.opencontainers.image.ref.name': 'Latest' } },
    'nonsense',
  ]
  const index = decodeOciIndex(json({ schemaVersion: 2, manifests, x: 1 }))
  expect(index.entries.map(({ reference, descriptor }) => [reference?.name, descriptor?.size])).toEqual([
    ['debian', undefined],
    [undefined, 3],
    [undefined, undefined],
  ])
  expect(findImage(index, { name: 'debian', version: '1' })).toBeUndefined()
  expect(JSON.parse(Buffer.from(encodeOciIndex(index)).toString())).toEqual({
    schemaVersion: 2,
    manifests,
    x: 1,
  })
})

test('a layout of another version is refused', () => {
  requireLayoutVersion(Buffer.from(layoutVersion))
  for (const text of ['', '{}', '{"imageLayoutVersion":"1.1.0"}']) {
    expect(() => requireLayoutVersion(Buffer.from(text))).toThrow(
      expect.objectContaining({ code: 'BLOB_WRONG_ANSWER' }),
    )
  }
})
