import {
  createPrivateKey,
  type X509Certificate as NodeCertificate,
  randomUUID,
  type webcrypto,
} from 'node:crypto'
import { mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Extension, Name, X509Certificate } from '@peculiar/x509'
import { readCertificate, soleUri } from './certificate.ts'
import { createSerial, createSigningKey, readSigningKey, signingAlgorithm } from './keys.ts'
import { PkiError } from './pki-error.ts'
import { x509 } from './x509.ts'

/** A site's certificate authority, ready to issue. The root's key is not in it. */
export interface Authority {
  /** The trust domain of the site's SPIFFE identities. */
  readonly siteId: string
  /** What everybody trusts; one PEM block. */
  readonly rootPem: string
  /** Milliseconds since 1970, as the next. Nobody trusts anything of this site after it. */
  readonly rootNotAfter: number
  /** Sent after each leaf; one PEM block. */
  readonly intermediatePem: string
  readonly intermediateNotAfter: number
  readonly signingKey: webcrypto.CryptoKey
}

const dayMs = 86_400_000
const rootLifetimeMs = 3650 * dayMs
const intermediateLifetimeMs = 365 * dayMs
/** Renewed when less is left: so long an admin has whose root key is offline. */
const renewalMs = 90 * dayMs
/** Clocks differ: a certificate is valid a minute before it was made. */
export const backdateMs = 60_000

/**
 * Makes a new authority in `dir`, whole or not at all: `root.pem`, `root.key` and `intermediate.pem` (key
 * and certificate in one file, so that renewal replaces both at once). Only their owner can read them. `root.key` is needed again only for
 * `renewIntermediate`: move it offline.
 *
 * @param options.siteName for people; 1 to 50 characters
 * @param options.now milliseconds since 1970
 * @throws {PkiError} PKI_AUTHORITY_EXISTS, PKI_BAD_NAME
 */
export async function createAuthority(options: {
  dir: string
  siteName: string
  now: number
}): Promise<Authority> {
  const { dir, siteName, now } = options
  if (siteName.length < 1 || siteName.length > 50)
    throw new PkiError('PKI_BAD_NAME', `expected a site name of 1 to 50 characters, got ${siteName.length}`)
  if (await stat(dir).catch(() => undefined)) throw existsAlready(dir)
  const root = createSigningKey()
  const certificate = await certify({
    subject: nameOf(siteName, 'root'),
    issuer: undefined,
    publicKey: root.publicKey,
    signingKey: root.signingKey,
    siteId: randomUUID(),
    pathLength: 1,
    from: now,
    lifetimeMs: rootLifetimeMs,
  })
  const partial = `${dir}.${randomUUID()}.partial`
  await mkdir(partial, { recursive: true, mode: 0o700 })
  await writeDurably(join(partial, 'root.key'), root.pem)
  await writeDurably(join(partial, 'root.pem'), certificate)
  await renewIntermediate({ dir: partial, now })
  await rename(partial, dir).catch(async (error: NodeJS.ErrnoException) => {
    await rm(partial, { recursive: true })
    throw error.code === 'ENOTEMPTY' ? existsAlready(dir) : error
  })
  await flush(dirname(dir))
  return openAuthority(dir)
}

/**
 * Opens what `createAuthority` made; works without `root.key`.
 *
 * @throws {PkiError} PKI_AUTHORITY_MISSING, PKI_AUTHORITY_BROKEN
 */
export async function openAuthority(dir: string): Promise<Authority> {
  const [rootPem, issuing] = await Promise.all([
    readPart(join(dir, 'root.pem')),
    readPart(join(dir, 'intermediate.pem')),
  ])
  if (rootPem === undefined || issuing === undefined)
    throw new PkiError('PKI_AUTHORITY_MISSING', `${dir} lacks root.pem or intermediate.pem`)
  const certificateStart = Math.max(0, issuing.indexOf('-----BEGIN CERTIFICATE-----'))
  const [key, intermediatePem] = [issuing.slice(0, certificateStart), issuing.slice(certificateStart)]
  try {
    const root = readCertificate(rootPem)
    const intermediate = readCertificate(intermediatePem)
    if (!signedBy(root, root) || !signedBy(intermediate, root))
      throw new Error('the root did not sign the intermediate')
    if (!intermediate.checkPrivateKey(createPrivateKey(key)))
      throw new Error('the intermediate has the key of another')
    const siteId = /^spiffe:\/\/([a-z0-9-]{1,64})$/.exec(soleUri(root.raw))?.[1]
    if (siteId === undefined) throw new Error('the root names no site')
    return {
      siteId,
      rootPem,
      rootNotAfter: root.validToDate.getTime(),
      intermediatePem,
      intermediateNotAfter: intermediate.validToDate.getTime(),
      signingKey: readSigningKey(key),
    }
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : 'it cannot be read'
    throw new PkiError('PKI_AUTHORITY_BROKEN', `the authority in ${dir} does not hold together: ${why}`, {
      cause,
      remedy: `Restore ${dir} from a backup.`,
    })
  }
}

/** @param now milliseconds since 1970 @returns whether it is time to renew the intermediate */
export function isRenewalDue({ intermediateNotAfter }: Authority, now: number): boolean {
  return intermediateNotAfter - now < renewalMs
}

/**
 * Replaces the intermediate by a new one for a year, also one that has expired; needs `root.key`. Leaves issued before go on
 * being accepted, since each carries its own intermediate.
 *
 * @param options.keyDir where `root.key` is, when it is not in `dir`
 * @param options.now milliseconds since 1970
 * @throws {PkiError} PKI_AUTHORITY_MISSING, PKI_ROOT_OFFLINE, PKI_OTHER_ROOT
 */
export async function renewIntermediate(options: {
  dir: string
  keyDir?: string
  now: number
}): Promise<void> {
  const { dir, keyDir = dir, now } = options
  const rootPem = await readPart(join(dir, 'root.pem'))
  if (rootPem === undefined) throw new PkiError('PKI_AUTHORITY_MISSING', `${dir} lacks root.pem`)
  const rootKey = await readPart(join(keyDir, 'root.key'))
  if (rootKey === undefined)
    throw new PkiError('PKI_ROOT_OFFLINE', `${keyDir}/root.key is not there`, {
      remedy: 'Bring the root key back for this one step, then move it offline again.',
    })
  if (!isKeyOf(rootPem, rootKey))
    throw new PkiError('PKI_OTHER_ROOT', `${keyDir}/root.key is not the key of ${dir}/root.pem`, {
      remedy: 'Bring the key that was made together with this root.',
    })
  const root = new (x509().X509Certificate)(rootPem)
  const intermediate = createSigningKey()
  const siteId = soleUri(new Uint8Array(root.rawData)).replace('spiffe://', '')
  const [siteName = ''] = root.subjectName.getField('O')
  const certificate = await certify({
    subject: nameOf(siteName, 'intermediate'),
    issuer: root,
    publicKey: intermediate.publicKey,
    signingKey: readSigningKey(rootKey),
    siteId,
    pathLength: 0,
    from: now,
    lifetimeMs: intermediateLifetimeMs,
  })
  await writeDurably(join(dir, 'intermediate.pem'), intermediate.pem + certificate)
}

interface AuthorityCertificate {
  readonly subject: Name
  /** Undefined for the root, which is its own. */
  readonly issuer: X509Certificate | undefined
  readonly publicKey: Uint8Array<ArrayBuffer>
  readonly signingKey: webcrypto.CryptoKey
  readonly siteId: string
  readonly pathLength: number
  readonly from: number
  readonly lifetimeMs: number
}

/** Source: RFC 5280, section 4.2; SPIFFE X509-SVID, section 4: a signing certificate names the trust domain, no path. */
async function certify(wanted: AuthorityCertificate): Promise<string> {
  const { issuer, publicKey } = wanted
  const {
    AuthorityKeyIdentifierExtension,
    BasicConstraintsExtension,
    KeyUsageFlags,
    KeyUsagesExtension,
    SubjectAlternativeNameExtension,
    SubjectKeyIdentifierExtension,
    X509CertificateGenerator,
  } = x509()
  const extensions: Extension[] = [
    new BasicConstraintsExtension(true, wanted.pathLength, true),
    new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
    new SubjectAlternativeNameExtension([{ type: 'url', value: `spiffe://${wanted.siteId}` }]),
    await SubjectKeyIdentifierExtension.create(publicKey),
    await AuthorityKeyIdentifierExtension.create(issuer?.publicKey ?? publicKey),
  ]
  const certificate = await X509CertificateGenerator.create({
    serialNumber: createSerial(),
    subject: wanted.subject,
    issuer: issuer?.subjectName ?? wanted.subject,
    notBefore: new Date(wanted.from - backdateMs),
    notAfter: new Date(wanted.from + wanted.lifetimeMs),
    publicKey,
    signingKey: wanted.signingKey,
    signingAlgorithm,
    extensions,
  })
  return `${certificate.toString('pem')}\n`
}

/** As objects: the library reads quotes and `#` in plain strings as syntax. */
function nameOf(siteName: string, part: string): Name {
  const { Name } = x509()
  return new Name([{ O: [{ utf8String: siteName }] }, { CN: [{ utf8String: `${siteName} ${part}` }] }])
}

function isKeyOf(certificatePem: string, keyPem: string): boolean {
  try {
    return readCertificate(certificatePem).checkPrivateKey(createPrivateKey(keyPem))
  } catch {
    return false
  }
}

function signedBy(certificate: NodeCertificate, issuer: NodeCertificate): boolean {
  return issuer.ca && certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey)
}

async function readPart(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
}

function existsAlready(dir: string): PkiError {
  return new PkiError('PKI_AUTHORITY_EXISTS', `${dir} exists already`)
}

/** Several nodes may do it at once: each has a partial file of its own. It belongs to whom the folder belongs. */
async function writeDurably(path: string, text: string): Promise<void> {
  const partial = `${path}.${randomUUID()}.partial`
  const { uid, gid } = await stat(dirname(path))
  {
    await using file = await open(partial, 'wx', 0o600)
    if (process.getuid?.() === 0) await file.chown(uid, gid)
    await file.writeFile(text)
    await file.sync()
  }
  await rename(partial, path)
  await flush(dirname(path))
}

async function flush(dir: string): Promise<void> {
  await using directory = await open(dir)
  await directory.sync()
}
