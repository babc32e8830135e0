import { createHash, randomBytes, X509Certificate } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { isCoded } from '#core/errors/coded-error.ts'
import {
  type Authority,
  createAuthority,
  createIdentityKey,
  formatSpiffe,
  identityOf,
  issueLeaf,
  type LeafOrder,
  makeToken,
  openAuthority,
  parseSpiffe,
  parseToken,
  readCertificate,
  renewAt,
  renewIntermediate,
  secretHash,
  validityOf,
  verifyPinnedRoot,
  verifyRequest,
} from './index.ts'
import { x509 } from './x509.ts'

const now = Date.UTC(2026, 5, 1)
const siteName = 'Example, "school" #1'
const hour = 3_600_000
let folder: string
let dir: string
let authority: Authority
let order: LeafOrder

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tc-pki-'))
  dir = join(folder, 'authority')
  authority = await createAuthority({ dir, siteName, now })
  const { publicKey } = await createIdentityKey()
  order = { publicKey, role: 'host', id: 'h-1', usages: 'both', lifetimeMs: hour, now }
})

afterAll(() => rm(folder, { recursive: true }))

test('an authority is a root for ten years and an intermediate for one that can sign nothing but leaves', () => {
  const [root, intermediate] = [
    readCertificate(authority.rootPem),
    readCertificate(authority.intermediatePem),
  ]
  expect(root.validToDate.getTime() - now).toBe(3650 * 24 * hour)
  expect(intermediate.validToDate.getTime() - now).toBe(365 * 24 * hour)
  expect(root.toLegacyObject().subject).toEqual({ O: siteName, CN: `${siteName} root` })
  expect(intermediate.issuer).toBe(root.subject)
  expect(intermediate.toLegacyObject().subject).toEqual({ O: siteName, CN: `${siteName} intermediate` })
  expect(intermediate.verify(root.publicKey)).toBe(true)
})

test('files of an authority can be read by their owner alone', async () => {
  expect((await stat(dir)).mode & 0o777).toBe(0o700)
  const names = await readdir(dir)
  expect(names.toSorted()).toEqual(['intermediate.pem', 'root.key', 'root.pem'])
  for (const name of names) expect((await stat(join(dir, name))).mode & 0o777).toBe(0o600)
})

test('an authority opens and issues with the root key offline, but its intermediate cannot be renewed', async () => {
  await rename(join(dir, 'root.key'), join(folder, 'offline'))
  const opened = await openAuthority(dir)
  expect((await issueLeaf(opened, order)).chainPem).toContain('BEGIN CERTIFICATE')
  await expect(renewIntermediate({ dir, now })).rejects.toMatchObject({ code: 'PKI_ROOT_OFFLINE' })
  await rename(join(folder, 'offline'), join(dir, 'root.key'))
})

test('a renewed intermediate keeps site and root', async () => {
  const other = join(folder, 'renewed')
  const before = await createAuthority({ dir: other, siteName: 'Renewed', now })
  await renewIntermediate({ dir: other, now: now + 100 * 24 * hour })
  const after = await openAuthority(other)
  expect(after).toMatchObject({ siteId: before.siteId, rootPem: before.rootPem })
  expect(after.intermediateNotAfter).toBe(now + 465 * 24 * hour)
})

test('an intermediate is renewed by the key of its own root alone, wherever that lies', async () => {
  const [dir, keyDir] = [join(folder, 'keyless'), join(folder, 'offline-key')]
  await createAuthority({ dir, siteName: 'Keyless', now })
  await mkdir(keyDir)
  await rename(join(dir, 'root.key'), join(keyDir, 'root.key'))
  const later = now + 400 * 24 * hour
  await renewIntermediate({ dir, keyDir, now: later })
  expect((await openAuthority(dir)).intermediateNotAfter).toBe(later + 365 * 24 * hour)
  const before = await readFile(join(dir, 'intermediate.pem'), 'utf8')
  const other = join(folder, 'other-root')
  await createAuthority({ dir: other, siteName: 'Other', now })
  for (const spoil of [async () => {}, async () => writeFile(join(other, 'root.key'), 'nonsense')]) {
    await spoil()
    await expect(renewIntermediate({ dir, keyDir: other, now })).rejects.toMatchObject({
      code: 'PKI_OTHER_ROOT',
    })
  }
  expect(await readFile(join(dir, 'intermediate.pem'), 'utf8')).toBe(before)
})

test('renewals at the same time leave one whole intermediate, and nothing else', async () => {
  const dir = join(folder, 'raced')
  await createAuthority({ dir, siteName: 'Raced', now })
  await Promise.all(Array.from({ length: 8 }, async () => renewIntermediate({ dir, now: now + hour })))
  expect((await openAuthority(dir)).intermediateNotAfter).toBe(now + (365 * 24 + 1) * hour)
  expect((await readdir(dir)).toSorted()).toEqual(['intermediate.pem', 'root.key', 'root.pem'])
})

test('an authority is never made over another, and a damaged one is not opened', async () => {
  await expect(createAuthority({ dir, siteName: 'x', now })).rejects.toMatchObject({
    code: 'PKI_AUTHORITY_EXISTS',
  })
  await expect(openAuthority(join(folder, 'none'))).rejects.toMatchObject({ code: 'PKI_AUTHORITY_MISSING' })
  const [a, b] = [join(folder, 'a'), join(folder, 'b')]
  await createAuthority({ dir: a, siteName: 'a', now })
  await createAuthority({ dir: b, siteName: 'b', now })
  await writeFile(join(a, 'root.pem'), await readFile(join(b, 'root.pem')))
  await expect(openAuthority(a)).rejects.toMatchObject({ code: 'PKI_AUTHORITY_BROKEN' })
  await writeFile(join(b, 'intermediate.pem'), 'nonsense')
  await expect(openAuthority(b)).rejects.toMatchObject({ code: 'PKI_AUTHORITY_BROKEN' })
})

test('a leaf names its part, starts a minute early and carries the intermediate', async () => {
  const leaf = await issueLeaf(authority, {
    ...order,
    dnsNames: ['localhost'],
    ipAddresses: ['127.0.0.1', '::1'],
  })
  const certificate = new X509Certificate(leaf.chainPem)
  expect(certificate.subjectAltName).toBe(
    `URI:spiffe://${authority.siteId}/host/h-1, DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1`,
  )
  expect(certificate.ca).toBe(false)
  expect(validityOf(leaf.chainPem)).toEqual({ notBefore: now - 60_000, notAfter: now + hour })
  expect(leaf).toMatchObject({ notBefore: now - 60_000, notAfter: now + hour })
  expect(certificate.serialNumber.toLowerCase()).toBe(leaf.serialNumber)
  expect(identityOf(certificate.raw, authority.siteId)).toEqual({ role: 'host', id: 'h-1' })
  expect(leaf.chainPem.endsWith(authority.intermediatePem)).toBe(true)
})

test('a leaf lives 24 hours at most and never longer than its issuer', async () => {
  for (const lifetimeMs of [0, -1, Number.NaN, 24 * hour + 1])
    await expect(issueLeaf(authority, { ...order, lifetimeMs })).rejects.toMatchObject({
      code: 'PKI_BAD_LIFETIME',
    })
  const late = authority.intermediateNotAfter - 1000
  expect((await issueLeaf(authority, { ...order, now: late })).notAfter).toBe(authority.intermediateNotAfter)
  await expect(issueLeaf(authority, { ...order, now: late + 1000 })).rejects.toMatchObject({
    code: 'PKI_AUTHORITY_EXPIRED',
  })
})

test('a request yields its key and nothing else', async () => {
  const { requestPem, publicKey } = await createIdentityKey()
  expect(verifyRequest(requestPem)).toEqual(publicKey)
})

const refused = expect.objectContaining({ code: 'PKI_BAD_REQUEST' })

test('a request with a changed byte, an unfit key or a size beyond the limit is refused', async () => {
  const { requestPem } = await createIdentityKey()
  const der = new Uint8Array(new (x509().Pkcs10CertificateRequest)(requestPem).rawData)
  for (let index = 0; index < der.length; index++) {
    const changed = der.with(index, (der[index] ?? 0) ^ 1)
    expect(() => verifyRequest(pem('CERTIFICATE REQUEST', changed))).toThrow(refused)
  }
  expect(() => verifyRequest(requestPem, 100)).toThrow(refused)
  expect(() => verifyRequest(requestPem + requestPem)).toThrow(refused)
})

test('an identity is formatted and parsed alike, and nothing near it is taken', () => {
  const identity = { siteId: 'a-1', role: 'gateway', id: 'Gw_1.x' } as const
  expect(parseSpiffe(formatSpiffe(identity))).toEqual(identity)
  for (const id of ['', '.', '..', 'a/b', 'a b', 'é', 'x'.repeat(65), 'a\n'])
    expect(() => formatSpiffe({ ...identity, id })).toThrow(
      expect.objectContaining({ code: 'PKI_BAD_IDENTITY' }),
    )
  for (const uri of [
    'SPIFFE://a/host/b',
    'spiffe://a/admin/b',
    'spiffe://a:1/host/b',
    'spiffe://a/host/b?c',
    'x',
  ])
    expect(() => parseSpiffe(uri)).toThrow(expect.objectContaining({ code: 'PKI_BAD_IDENTITY' }))
})

test('a certificate without identity, or of another site, is no peer', async () => {
  const leaf = new X509Certificate((await issueLeaf(authority, order)).chainPem)
  expect(() => identityOf(leaf.raw, 'another')).toThrow(expect.objectContaining({ code: 'PKI_WRONG_SITE' }))
  const root = readCertificate(authority.rootPem)
  expect(() => identityOf(root.raw, authority.siteId)).toThrow(
    expect.objectContaining({ code: 'PKI_BAD_IDENTITY' }),
  )
})

test('a token is read back, has one spelling and pins the root', () => {
  const secret = new Uint8Array(randomBytes(32))
  const text = makeToken('host', secret, authority.rootPem)
  const token = parseToken(text)
  expect(token).toMatchObject({ kind: 'host', secret })
  expect(secretHash(token.secret)).toBe(createHash('sha256').update(secret).digest('base64url'))
  expect(verifyPinnedRoot(authority.rootPem, token.rootHash).trim()).toBe(authority.rootPem.trim())
  expect(() => verifyPinnedRoot(authority.intermediatePem, token.rootHash)).toThrow(
    expect.objectContaining({ code: 'PKI_PIN_MISMATCH' }),
  )
  for (const wrong of [
    text.replace('tc1', 'tc2'),
    text.replace('host', 'root'),
    `${text}x`,
    `${text}\n`,
    text.slice(1),
  ])
    expect(() => parseToken(wrong)).toThrow(expect.objectContaining({ code: 'PKI_BAD_TOKEN' }))
  const loose = `${text.slice(0, -1)}${String.fromCharCode(text.charCodeAt(text.length - 1) + 1)}`
  expect(() => parseToken(loose)).toThrow(expect.objectContaining({ code: 'PKI_BAD_TOKEN' }))
})

test('renewal falls between four tenths and half of the lifetime', () => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (jitter) => {
      const at = renewAt({ notBefore: 1000, notAfter: 2000 }, jitter)
      expect(at).toBeGreaterThanOrEqual(1400)
      expect(at).toBeLessThanOrEqual(1500)
    }),
  )
})

test('arbitrary bytes are refused with a code by every reader', async () => {
  const leaf = new X509Certificate((await issueLeaf(authority, order)).chainPem)
  const bent = fc
    .tuple(fc.nat(leaf.raw.length - 1), fc.nat(255))
    .map(([index, value]) => new Uint8Array(leaf.raw).with(index, value))
  const bytes = fc.oneof(fc.uint8Array({ maxLength: 600 }), bent)
  await fc.assert(
    fc.asyncProperty(bytes, async (input) => {
      const text = Buffer.from(input).toString('latin1')
      const attempts = [
        () => identityOf(input, authority.siteId),
        () => readCertificate(text),
        () => readCertificate(pem('CERTIFICATE', input)),
        () => parseToken(text),
        () => parseSpiffe(text),
        () => verifyPinnedRoot(pem('CERTIFICATE', input), new Uint8Array(32)),
        () => verifyRequest(text),
        () => verifyRequest(pem('CERTIFICATE REQUEST', input)),
      ]
      for (const attempt of attempts)
        expect(await failureOf(attempt)).toSatisfy((e) => e === undefined || isCoded(e))
    }),
    { numRuns: 300 },
  )
})

function pem(label: string, der: Uint8Array): string {
  const lines = Buffer.from(der).toString('base64').replace(/.{64}/g, '$&\n')
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`
}

async function failureOf(attempt: () => unknown): Promise<unknown> {
  try {
    await attempt()
    return undefined
  } catch (error) {
    return error
  }
}
