import { hash } from 'node:crypto'
import { expect, test } from 'vitest'
import type { ProposalDetail } from '#core/api/releases.ts'
import { encodeManifest, type ImageManifest } from '#core/artifact/index.ts'
import {
  decodeMetadata,
  proposeFamily,
  proposeRelease,
  proposeRenewal,
  proposeRollback,
  retireRelease,
} from '#core/release/index.ts'
import { encodeMetadata, type FamilySigned } from '#core/release/metadata.ts'
import { codeOf, firstRoot, makeCast, start, twoOfThree } from '#core/release/release.fixture.ts'
import { describeProposal } from './describe-proposal.ts'

/** What a person sees comes from the bytes they sign: a site that shows one thing and means another is refused. */
const name = 'debian'
const expiresAtMs = start + 1000
const manifests = { '1': manifestOf('1'), '2': manifestOf('2') } as const
const first = proposeRelease({ name, version: '1', manifestBytes: manifests['1'], expiresAtMs })
const second = proposeRelease({
  current: first,
  name,
  version: '2',
  manifestBytes: manifests['2'],
  expiresAtMs,
})

test('a release is shown with what it changes', () => {
  const { lines } = describe('2', second, {
    published: first,
    manifest: manifests['2'],
    previous: manifests['1'],
  })
  expect(lines.join('\n')).toContain('debian/2, number 2')
  expect(lines.join('\n')).toContain('disk          2.0 MiB, before 1.0 MiB')
  expect(lines.join('\n')).toContain('application   writer: /usr/bin/writer 2, before /usr/bin/writer 1')
})

test('another sector size and another boot trace are shown', () => {
  const trace = { digest: 'a'.repeat(64), sizeBytes: 100 }
  const [older, newer] = [manifestOf('1'), manifestOf('2', undefined, { sectorBytes: 4096, trace })]
  const published = proposeRelease({ name, version: '1', manifestBytes: older, expiresAtMs })
  const next = { current: published, name, version: '2', manifestBytes: newer, expiresAtMs }
  const { lines } = describe('2', proposeRelease(next), { published, manifest: newer, previous: older })
  expect(lines).toContain('  sectors       4.0 KiB, before 512 B')
  expect(lines).toContain(`  boot trace    sha256:${trace.digest}, before none`)
})

test('a command is shown word by word, and another one is never shown as the same', () => {
  expect(shownCommand(['/bin/w', '--safe'], ['/bin/w', '--safe'])).toBe('/bin/w --safe')
  expect(shownCommand(['/bin/w', '--safe'], ['/bin/w --safe'])).toBe('"/bin/w --safe", before /bin/w --safe')
  expect(shownCommand(['/bin/w', '"a', 'b"'], ['/bin/w', 'a b'])).toBe(
    '/bin/w "a b", before /bin/w "\\"a" "b\\""',
  )
  // A space that is none: only its number tells it from others.
  expect(shownCommand(['/bin/w', 'a\u2003b'], ['/bin/w', 'a\u00a0b'])).toBe(
    '/bin/w "a\\u{a0}b", before /bin/w "a\\u{2003}b"',
  )
})

test('going back says whose image it is', () => {
  const back = proposeRollback({ current: second, name, to: '1', as: '3', expiresAtMs })
  const { lines } = describe('3', back, { published: second, manifest: manifests['1'] })
  expect(lines.join('\n')).toContain('number 3: again the image of debian/1')
})

test('a renewal and a retirement are shown as such', () => {
  const renewed = describe(undefined, proposeRenewal('family', second, expiresAtMs), { published: second })
  expect(renewed.lines.join('\n')).toContain('releases      2 in all')
  const retired = retireRelease({ current: second, name, version: '1', expiresAtMs })
  const { lines } = describe(undefined, retired, { published: second })
  expect(lines.join('\n')).toContain('retired       debian/1')
})

const ahead = { published: first }
test.each([
  ['another version', () => describe('1', second, { published: first })],
  ['a release where none was meant', () => describe(undefined, second, { published: first })],
  ['a release that was changed', () => describe(undefined, changed(), { published: second })],
  ['a counter that leaves no room for others', () => describe('2', counted(Number.MAX_SAFE_INTEGER), ahead)],
  ['a counter that was given already', () => describe('2', counted(1, 'debian/1'), ahead)],
  ['a version that leaves no room for others', () => describe('2', numbered(Number.MAX_SAFE_INTEGER), ahead)],
  ['a version that was published already', () => describe('2', numbered(1), ahead)],
  ['the retirement of the newest release', () => describe(undefined, withoutNewest(), { published: second })],
  ['two releases at once', () => describe('2', second, {})],
  [
    'the manifest of another image',
    () => describe('2', mislabelled(), { published: first, manifest: manifests['1'] }),
  ],
  [
    'another role',
    () => describeProposal({ role: 'root', version: undefined }, detail(second, {}), undefined),
  ],
  ['a root for an image', () => describe(undefined, firstRoot(makeCast()), {})],
  [
    'another image',
    () => describeProposal({ role: 'ubuntu', version: '2' }, detail(second, { published: first }), first),
  ],
])('%s is not signed', async (_, attempt) => {
  expect(await codeOf(attempt)).toBe('CLI_OTHER_PROPOSAL')
})

test('a manifest that does not fit is not shown as if it did', () => {
  const { lines } = describe('2', second, { published: first, manifest: manifests['1'] })
  expect(lines.join('\n')).toContain('do not sign')
  expect(lines.join('\n')).not.toContain('merkle root')
})

/** A site that was taken over made up release 2; release 3 is what people want. */
const third = proposeRelease({
  current: second,
  name,
  version: '3',
  manifestBytes: manifests['2'],
  expiresAtMs,
})

test('a made-up release in what the site calls published and in the proposal is shown and not signed', async () => {
  const shown = detail(third, { published: second })
  const attempt = () => describeProposal({ role: name, version: '3' }, shown, first)
  expect(await codeOf(attempt)).toBe('RELEASE_MISMATCH')
  expect(attempt).toThrow(`nobody has signed debian/2, number 2, sha256:${hash('sha256', manifests['2'])}`)
})

test('a made-up release in the proposal alone is shown and not signed, also before the first release', async () => {
  for (const verified of [first, undefined]) {
    const shown = verified === undefined ? {} : { published: verified }
    const attempt = () => describeProposal({ role: name, version: '3' }, detail(third, shown), verified)
    expect(await codeOf(attempt)).toBe('CLI_OTHER_PROPOSAL')
    expect(attempt).toThrow('debian/2, debian/3')
  }
})

test.each([
  ['more is published than the keys signed', first, undefined],
  ['nothing is published though the keys signed something', undefined, first],
  ['an older state is published', first, second],
])('it is refused when the site says that %s', async (_, said, verified) => {
  const shown = said === undefined ? {} : { published: said }
  const attempt = () => describeProposal({ role: name, version: '2' }, detail(second, shown), verified)
  expect(await codeOf(attempt)).toBe('RELEASE_MISMATCH')
})

test('the manifest before is shown only if its digest was signed', () => {
  const other = { published: first, manifest: manifests['2'], previous: manifests['2'] }
  expect(describe('2', second, other).lines.join('\n')).not.toContain('before')
})

test('whom targets name anew, beside what was verified', () => {
  const cast = makeCast()
  const keys = { ...twoOfThree(cast), expiresAtMs }
  const before = proposeFamily({ ...keys, name })
  const after = proposeFamily({
    ...keys,
    current: before,
    name: 'ubuntu',
    keys: [cast.mallory.publicKey],
    threshold: 1,
  })
  const meant = { role: 'targets', version: undefined }
  const { lines } = describeProposal(meant, detail(after, { published: before }), before)
  expect(lines.join('\n')).toContain('debian: 2 of 3 must sign, as before')
  expect(lines.join('\n')).toContain('ubuntu: 1 of 1 must sign, NEW')
  const all = describeProposal(meant, detail(before, {}), undefined).lines.join('\n')
  expect(all).toContain('debian: 2 of 3 must sign\n')
  expect(all).toContain('carol')
})

test('whose key it is comes after its id, and one that is called otherwise than before is marked', () => {
  const cast = makeCast()
  const [alice, bob] = [cast.alice.publicKey, cast.bob.publicKey]
  const before = proposeFamily({ keys: [alice, bob], threshold: 2, name, expiresAtMs })
  const swapped = [
    { ...alice, 'x-trustcast-name': 'bob' },
    { ...bob, 'x-trustcast-name': 'alice' },
  ]
  const after = proposeFamily({ current: before, keys: swapped, threshold: 2, name, expiresAtMs })
  const meant = { role: 'targets', version: undefined }
  const { lines } = describeProposal(meant, detail(after, { published: before }), before)
  expect(lines.slice(1)).toEqual([
    '  debian: 2 of 2 must sign, the same keys by other names',
    `    ${cast.alice.keyId}  bob  RENAMED, before: alice`,
    `    ${cast.bob.keyId}  alice  RENAMED, before: bob`,
  ])
})

/** What is said of the application whose command becomes another one. */
function shownCommand(before: readonly string[], now: readonly string[]): string | undefined {
  const [older, newer] = [manifestOf('1', before), manifestOf('2', now)]
  const published = proposeRelease({ name, version: '1', manifestBytes: older, expiresAtMs })
  const next = { current: published, name, version: '2', manifestBytes: newer, expiresAtMs }
  const { lines } = describe('2', proposeRelease(next), { published, manifest: newer, previous: older })
  return lines.find((line) => line.includes('application'))?.replace('  application   writer: ', '')
}

interface Shown {
  readonly published?: Uint8Array
  readonly manifest?: Uint8Array
  readonly previous?: Uint8Array
}

function describe(version: string | undefined, bytes: Uint8Array, shown: Shown) {
  return describeProposal({ role: name, version }, detail(bytes, shown), shown.published)
}

function detail(bytes: Uint8Array, { published, manifest, previous }: Shown): ProposalDetail {
  return {
    role: name,
    version: 1,
    proposedBy: 'ada',
    proposedAt: '2026-01-01T00:00:00Z',
    expiresAt: '2026-01-01T00:00:00Z',
    signatures: [],
    missing: 0,
    adds: [],
    metadata: text(bytes),
    ...(published && { published: text(published) }),
    ...(manifest && { manifest: text(manifest) }),
    ...(previous && { previousManifest: text(previous) }),
  }
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64url')
}

/** The second release, under which the first one's manifest was put. */
function mislabelled(): Uint8Array {
  return proposeRelease({ current: first, name, version: '2', manifestBytes: manifests['1'], expiresAtMs })
}

function changed(): Uint8Array {
  return edited(second, ({ targets }) => {
    targets['debian/1']!.hashes.sha256 = '0'.repeat(64)
  })
}

/** The second release with another counter, perhaps in the place of one that is gone. */
function counted(counter: number, gone: string = ''): Uint8Array {
  return edited(second, ({ targets }) => {
    targets['debian/2']!.custom.counter = counter
    delete targets[gone]
  })
}

function numbered(version: number): Uint8Array {
  return edited(second, (signed) => {
    signed.version = version
  })
}

function withoutNewest(): Uint8Array {
  return edited(proposeRenewal('family', second, expiresAtMs), ({ targets }) => {
    delete targets['debian/2']
  })
}

function edited(bytes: Uint8Array, edit: (signed: FamilySigned) => void): Uint8Array {
  const metadata = decodeMetadata('family', bytes)
  const signed = structuredClone(metadata.signed)
  edit(signed)
  return encodeMetadata({ ...metadata, signed })
}

function manifestOf(
  version: '1' | '2',
  command: readonly string[] = ['/usr/bin/writer', version],
  more: Partial<ImageManifest> = {},
): Uint8Array {
  return encodeManifest({
    schema: 1,
    name,
    version,
    sizeBytes: Number(version) * 1024 * 1024,
    chunkBytes: 262_144,
    sectorBytes: 512,
    diskId: '7b0c9d0c-5f4b-4d3c-9f0e-3a5d6a9c1b11',
    merkleRoot: version.repeat(64),
    storedChunks: 4,
    storedBytes: 1000,
    keyId: '0'.repeat(32),
    applications: { writer: { command: [...command] } },
    createdAt: '2026-01-01T00:00:00Z',
    ...more,
  })
}
