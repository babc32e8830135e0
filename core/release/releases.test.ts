import { hash } from 'node:crypto'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { keyIdOf } from './keys.ts'
import {
  decodeAnyMetadata,
  decodeMetadata,
  encodeMetadata,
  maximumReleases,
  signedBytes,
} from './metadata.ts'
import {
  findRelease,
  listReleases,
  proposeRelease,
  proposeRollback,
  retireRelease,
} from './propose-release.ts'
import { proposeFamily, proposeRenewal, proposeRoot } from './propose-roles.ts'
import type { Repository } from './publish.ts'
import {
  type Cast,
  codeOf,
  day,
  firstRoot,
  makeCast,
  makeRepository,
  makeSigner,
  manifestOf,
  publishBy,
  signBy,
  start,
  twoOfThree,
} from './release.fixture.ts'
import {
  attachSignature,
  familyRole,
  rootRole,
  signatureState,
  signMetadata,
  type Verified,
  verifyMetadata,
} from './signatures.ts'

const cast: Cast = makeCast()
const repository: Repository = await makeRepository(cast, 2)
const expiresAtMs = start + 90 * day

test('a release counts one more than the one before it', () => {
  expect(listReleases(verifiedFamily(repository), 'debian')).toEqual([
    { ...releaseOf('2'), counter: 2 },
    { ...releaseOf('1'), counter: 1 },
  ])
})

test('going back is a new release with the next counter and the old bytes', async () => {
  const rolledBack = await rollBack(repository, '1', '1-again')
  expect(findRelease(verifiedFamily(rolledBack), 'debian', '1-again')).toEqual({
    ...releaseOf('1'),
    version: '1-again',
    counter: 3,
  })
  const twice = await rollBack(rolledBack, '1-again', '1-once-more')
  expect(findRelease(verifiedFamily(twice), 'debian', '1-once-more')).toMatchObject({
    contentVersion: '1',
    counter: 4,
  })
})

test('a retired release is gone; the newest cannot be retired', async () => {
  const retired = await propose(repository, retireRelease({ ...base(repository), version: '1' }))
  expect(listReleases(verifiedFamily(retired), 'debian').map(({ version }) => version)).toEqual(['2'])
  expect(await codeOf(() => retireRelease({ ...base(repository), version: '2' }))).toBe('RELEASE_COUNTER')
  expect(await codeOf(() => retireRelease({ ...base(repository), version: '9' }))).toBe('RELEASE_UNKNOWN')
})

test('what was never released cannot be gone back to, and no version is released twice', async () => {
  const next = base(repository)
  expect(await codeOf(() => proposeRollback({ ...next, to: '9', as: '3' }))).toBe('RELEASE_UNKNOWN')
  expect(await codeOf(() => proposeRollback({ ...next, to: '1', as: '2' }))).toBe('RELEASE_EXISTS')
  expect(await codeOf(() => proposeRelease({ ...next, version: '2', manifestBytes: manifestOf('2') }))).toBe(
    'RELEASE_EXISTS',
  )
})

test.each(['', '.', '..', 'a/b', 'A', 'a b', '*', '-a', 'root', 'targets', 'constructor', 'a'.repeat(129)])(
  'no image is called %j',
  async (name) => {
    const proposal = { name, version: '1', manifestBytes: manifestOf('1'), expiresAtMs }
    expect(await codeOf(() => proposeRelease(proposal))).toBe('RELEASE_BAD_NAME')
    expect(await codeOf(() => proposeFamily({ ...twoOfThree(cast), name, expiresAtMs }))).toBe(
      'RELEASE_BAD_NAME',
    )
  },
)

test('the number of releases of an image is bounded', async () => {
  const numbers = Array.from({ length: maximumReleases }, (_, index) => index + 1)
  const next = { name: 'debian', version: 'next', manifestBytes: manifestOf('next'), expiresAtMs }
  expect(await codeOf(() => proposeRelease({ ...next, current: familyWith(numbers) }))).toBe(
    'RELEASE_TOO_MANY',
  )
  expect(await codeOf(() => decodeAnyMetadata(familyWith([...numbers, 500])))).toBe('RELEASE_TOO_MANY')
})

test('signatures are counted one by one, and by name', async () => {
  const role = familyRole(decodeMetadata('targets', repository.targets!).signed, 'debian')!
  const proposed = proposeRelease({ ...base(repository), version: '3', manifestBytes: manifestOf('3') })
  expect(signatureState(proposed, role)).toMatchObject({ threshold: 2, valid: [], missing: 2 })

  const once = await signBy(proposed, cast.alice)
  expect(signatureState(once, role).valid.map(nameOf)).toEqual(['alice'])
  expect(signatureState(once, role).waiting.map(nameOf)).toEqual(['bob', 'carol'])

  // Twice by one key, or by somebody who was not named, is still one.
  const padded = await signBy(once, cast.alice, cast.mallory)
  expect(signatureState(padded, role)).toMatchObject({ missing: 1, unknownKeys: [cast.mallory.keyId] })
  expect(await codeOf(() => verifyMetadata('family', padded, role))).toBe('RELEASE_BELOW_THRESHOLD')

  const twice = await signBy(padded, cast.bob)
  expect(signatureState(twice, role)).toMatchObject({ missing: 0 })
  expect(verifyMetadata('family', twice, role).signed.version).toBe(3)
})

test('a signature over other bytes counts for nothing', async () => {
  const role = familyRole(decodeMetadata('targets', repository.targets!).signed, 'debian')!
  const proposed = proposeRelease({ ...base(repository), version: '3', manifestBytes: manifestOf('3') })
  const other = proposeRelease({ ...base(repository), version: '3', manifestBytes: manifestOf('evil') })
  const { signatures } = decodeMetadata('family', await signBy(proposed, cast.alice, cast.bob))
  const moved = encodeMetadata({ ...decodeMetadata('family', other), signatures })
  expect(signatureState(moved, role)).toMatchObject({ valid: [], missing: 2 })
  expect(await codeOf(() => attachSignature(other, signatures[0]!, [role]))).toBe('RELEASE_BAD_SIGNATURE')
  const stranger = await signMetadata(decodeAnyMetadata(proposed), cast.mallory)
  expect(await codeOf(() => attachSignature(proposed, stranger, [role]))).toBe('RELEASE_UNKNOWN_KEY')
  const attached = attachSignature(proposed, signatures[0]!, [role])
  expect(signatureState(attached, role).valid).toHaveLength(1)
})

test('a signer whose key does not verify its signature is refused', async () => {
  const broken = { ...cast.alice, sign: (bytes: Uint8Array) => cast.carol.sign(bytes) }
  expect(await codeOf(() => signBy(firstRoot(cast), broken))).toBe('RELEASE_BAD_SIGNATURE')
})

test('one key cannot be two signers', async () => {
  const { publicKey } = cast.alice
  const twice = [publicKey, { ...publicKey, 'x-trustcast-name': 'somebody else' }]
  const family = { name: 'debian', keys: twice, threshold: 2, expiresAtMs }
  expect(await codeOf(() => proposeFamily(family))).toBe('RELEASE_BAD_THRESHOLD')
  const targets = decodeMetadata(
    'targets',
    proposeFamily({ ...family, keys: [publicKey, cast.bob.publicKey] }),
  )
  const forged = structuredClone(targets)
  forged.signed.delegations.keys[cast.bob.keyId] = publicKey
  expect(await codeOf(() => decodeAnyMetadata(encodeMetadata(forged)))).toBe('RELEASE_BAD_KEY')
})

test('nothing is published below the threshold, out of order, or after its time', async () => {
  const proposed = proposeRelease({ ...base(repository), version: '3', manifestBytes: manifestOf('3') })
  const publish = (bytes: Uint8Array, nowMs?: number) =>
    codeOf(() => publishBy(cast, repository, { families: new Map([['debian', bytes]]) }, nowMs))
  expect(await publish(proposed)).toBe('RELEASE_BELOW_THRESHOLD')
  expect(await publish(await signBy(proposed, cast.alice, cast.mallory))).toBe('RELEASE_BELOW_THRESHOLD')
  const signed = await signBy(proposed, cast.alice, cast.bob)
  expect(await publish(signed, start + 90 * day)).toBe('RELEASE_EXPIRED')
  const published = await propose(repository, proposed)
  expect(await codeOf(() => propose(published, proposed))).toBe('RELEASE_VERSION_GAP')
  const old = repository.families.get('debian')!
  expect(await codeOf(() => propose(published, old))).toBe('RELEASE_VERSION_GAP')
  expect(await codeOf(() => publishBy(cast, undefined, {}))).toBe('RELEASE_NO_ROOT')
  const nobody = new Map([['ubuntu', signed]])
  expect(await codeOf(() => publishBy(cast, repository, { families: nobody }))).toBe('RELEASE_UNKNOWN')
})

test('releases that are signed neither change, nor skip a counter, nor lose the newest', async () => {
  const { signed } = decodeMetadata('family', repository.families.get('debian')!)
  const publish = async (targets: typeof signed.targets): Promise<string> => {
    const next = encodeMetadata({
      kind: 'family',
      signed: { ...signed, version: 3, targets },
      signatures: [],
    })
    return codeOf(() => propose(repository, next))
  }
  const first = signed.targets['debian/1']!
  const second = signed.targets['debian/2']!
  const changed = { ...first, hashes: { sha256: '0'.repeat(64) } }
  expect(await publish({ 'debian/1': changed, 'debian/2': second })).toBe('RELEASE_COUNTER')
  expect(await publish({ ...signed.targets, 'debian/3': { ...first, custom: { counter: 4 } } })).toBe(
    'RELEASE_COUNTER',
  )
  expect(await publish({ 'debian/1': first })).toBe('RELEASE_COUNTER')
  expect(await publish({})).toBe('RELEASE_COUNTER')
  const other = { 'ubuntu/1': { ...first, custom: { counter: 3 } } }
  expect(await publish({ ...signed.targets, ...other })).toBe('RELEASE_MALFORMED')
  expect(await publish(other)).toBe('RELEASE_COUNTER')
})

test('a root follows another when both their thresholds have signed', async () => {
  const dave = makeSigner('dave')
  const next = proposeRoot({
    current: repository.root,
    root: { keys: [cast.carol, dave].map(({ publicKey }) => publicKey), threshold: 2 },
    targets: twoOfThree(cast),
    snapshot: cast.site.snapshot.publicKey,
    timestamp: cast.site.timestamp.publicKey,
    expiresAtMs: start + 365 * day,
  })
  const publish = async (...signers: Cast['alice'][]) =>
    publishBy(cast, repository, { root: await signBy(next, ...signers) })
  expect(await codeOf(() => publish(cast.carol, dave))).toBe('RELEASE_BELOW_THRESHOLD')
  expect(await codeOf(() => publish(cast.alice, cast.bob))).toBe('RELEASE_BELOW_THRESHOLD')
  expect(await codeOf(() => publish(cast.alice, cast.bob, cast.carol))).toBe('RELEASE_BELOW_THRESHOLD')
  const rotated = await publish(cast.alice, cast.carol, dave)
  expect(decodeMetadata('root', rotated.root).signed.version).toBe(2)
  expect(
    await codeOf(async () =>
      publishBy(cast, rotated, { root: await signBy(next, cast.alice, cast.carol, dave) }),
    ),
  ).toBe('RELEASE_VERSION_GAP')
})

test('after a rotation, what the new keys sign must come along', async () => {
  const dave = makeSigner('dave')
  const keys = [cast.carol, dave].map(({ publicKey }) => publicKey)
  const targets = await signBy(
    proposeFamily({ current: repository.targets, name: 'debian', keys, threshold: 2, expiresAtMs }),
    cast.alice,
    cast.bob,
  )
  expect(await codeOf(() => publishBy(cast, repository, { targets }))).toBe('RELEASE_BELOW_THRESHOLD')
  const renewed = await signBy(
    proposeRenewal('family', repository.families.get('debian')!, expiresAtMs),
    cast.carol,
    dave,
  )
  const rotated = await publishBy(cast, repository, { targets, families: new Map([['debian', renewed]]) })
  expect(listReleases(verifiedFamily(rotated), 'debian')).toEqual(
    listReleases(verifiedFamily(repository), 'debian'),
  )
})

test('an image that was delegated stays delegated', async () => {
  const other = proposeFamily({ ...twoOfThree(cast), name: 'ubuntu', expiresAtMs })
  const metadata = decodeMetadata('targets', other)
  const lost = encodeMetadata({ ...metadata, signed: { ...metadata.signed, version: 2 } })
  const targets = await signBy(lost, cast.alice, cast.bob)
  expect(await codeOf(() => publishBy(cast, repository, { targets }))).toBe('RELEASE_MISMATCH')
})

test('a site whose keys the root does not name publishes nothing', async () => {
  const stranger = { ...cast, site: makeCast().site }
  expect(await codeOf(() => publishBy(stranger, repository, {}))).toBe('RELEASE_UNKNOWN_KEY')
})

test('renewing says again that all is current; the snapshot only when it has to', async () => {
  const renewed = await publishBy(cast, repository, {}, start + day)
  expect(versionOf(renewed.timestamp)).toBe(versionOf(repository.timestamp) + 1)
  expect(renewed.snapshot).toBe(repository.snapshot)
  const later = await publishBy(cast, renewed, {}, start + 5 * day)
  expect(versionOf(later.snapshot)).toBe(versionOf(repository.snapshot) + 1)
})

test('no changed byte of metadata is accepted', async () => {
  const { signed: root } = decodeMetadata('root', repository.root)
  const targets = decodeMetadata('targets', repository.targets!).signed
  const family = repository.families.get('debian')!
  const documents = [
    [repository.root, (bytes: Uint8Array) => verifyMetadata('root', bytes, rootRole(root, 'root'))],
    [repository.targets!, (bytes: Uint8Array) => verifyMetadata('targets', bytes, rootRole(root, 'targets'))],
    [family, (bytes: Uint8Array) => verifyMetadata('family', bytes, familyRole(targets, 'debian')!)],
    [
      repository.snapshot!,
      (bytes: Uint8Array) => verifyMetadata('snapshot', bytes, rootRole(root, 'snapshot')),
    ],
  ] as const
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...documents),
      fc.nat(),
      fc.oneof(fc.integer({ min: 1, max: 255 }), fc.constant('cut' as const), fc.constant('double' as const)),
      async ([bytes, verify], position, change) => {
        const at = position % bytes.length
        const mutated =
          change === 'cut'
            ? bytes.subarray(0, at)
            : change === 'double'
              ? Buffer.concat([bytes.subarray(0, at), bytes.subarray(Math.max(0, at - 7)), Buffer.from(' ')])
              : Uint8Array.from(bytes, (byte, index) => (index === at ? byte ^ change : byte))
        expect(await codeOf(() => verify(mutated))).toMatch(/^RELEASE_/)
      },
    ),
    { numRuns: 1000 },
  )
})

test('changing a value and writing it canonically again is not accepted either', async () => {
  const { signed: targets } = decodeMetadata('targets', repository.targets!)
  const metadata = decodeMetadata('family', repository.families.get('debian')!)
  const signed = structuredClone(metadata.signed)
  signed.targets['debian/2']!.hashes.sha256 = hash('sha256', 'evil')
  const forged = encodeMetadata({ ...metadata, signed })
  expect(await codeOf(() => verifyMetadata('family', forged, familyRole(targets, 'debian')!))).toBe(
    'RELEASE_BELOW_THRESHOLD',
  )
  expect(signedBytes({ signed })).not.toEqual(signedBytes(metadata))
  expect(keyIdOf(cast.alice.publicKey)).toBe(cast.alice.keyId)
})

function familyWith(counters: number[]): Uint8Array {
  return encodeMetadata({
    kind: 'family',
    signed: {
      _type: 'targets',
      spec_version: '1.0.31',
      version: 1,
      expires: '2026-06-01T00:00:00Z',
      targets: Object.fromEntries(counters.map((counter) => [`debian/${counter}`, target(counter)])),
    },
    signatures: [],
  })
}

function target(counter: number) {
  return { length: 1, hashes: { sha256: '0'.repeat(64) }, custom: { counter } }
}

function nameOf({ name }: { name: string }): string {
  return name
}

function versionOf(bytes: Uint8Array | undefined): number {
  return decodeAnyMetadata(bytes!).signed.version
}

function releaseOf(version: string) {
  const bytes = manifestOf(version)
  return {
    name: 'debian',
    version,
    contentVersion: version,
    manifestDigest: hash('sha256', bytes),
    manifestBytes: bytes.length,
  }
}

function base({ families }: Repository) {
  return { current: families.get('debian')!, name: 'debian', expiresAtMs }
}

async function propose(current: Repository, proposed: Uint8Array): Promise<Repository> {
  const signed = await signBy(proposed, cast.alice, cast.bob)
  return publishBy(cast, current, { families: new Map([['debian', signed]]) })
}

function rollBack(current: Repository, to: string, as: string): Promise<Repository> {
  return propose(current, proposeRollback({ ...base(current), to, as }))
}

function verifiedFamily({ targets, families }: Repository): Verified<'family'> {
  const role = familyRole(decodeMetadata('targets', targets!).signed, 'debian')!
  return verifyMetadata('family', families.get('debian')!, role)
}
