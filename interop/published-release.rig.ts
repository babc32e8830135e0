import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto'
import { z } from 'zod'
import type { WorkspaceDefinition } from '#core/api/admin.ts'
import { proposalDetail } from '#core/api/releases.ts'
import { encodeManifest, keyIdOf } from '#core/artifact/index.ts'
import { decodeAnyMetadata, memorySigner, type ReleaseSigner, signMetadata } from '#core/release/index.ts'
import type { VmConfig } from '#core/vm/index.ts'
import type { SignedInClient } from './running-site.rig.ts'

/** A release that a site has published for production, and the key of its image. */
export interface PublishedForTest {
  readonly name: string
  readonly version: string
  readonly manifestDigest: string
  readonly key: Buffer
  /** Signs whatever else there is to sign. */
  readonly signer: ReleaseSigner
}

const any = z.unknown()

/** An image that is somewhere. */
export interface ImageForTest {
  readonly manifest: Uint8Array
  readonly key: Buffer
  readonly store: string
}

/**
 * Names a signer, registers an image, has it signed and published, and deposits its key: all by the site's own API.
 *
 * @param content absent: an image of no bytes
 */
export async function publishForTest(
  admin: SignedInClient,
  name: string,
  content: ImageForTest = emptyImage(name),
): Promise<PublishedForTest> {
  const signer = memorySigner(generateKeyPairSync('ed25519').privateKey, 'tester')
  const keys = { keys: [signer.publicKey], threshold: 1 }
  await admin.send('POST', '/releases/root', { root: keys }, any)
  await sign(admin, signer, 'root')
  await admin.send('POST', `/releases/images/${name}/keys`, keys, any)
  await sign(admin, signer, 'targets')
  const manifestDigest = await release(admin, signer, { name, version: '1', ...content })
  await admin.send('PUT', `/releases/images/${name}/channels/production`, { version: '1' }, any)
  const { key } = content
  await admin.send('POST', `/images/${name}/key`, { key: key.toString('base64url') }, any)
  return { name, version: '1', manifestDigest, key, signer }
}

/** The next release of an image of no bytes, for those who are given what is tested. */
export async function publishNextForTest(
  admin: SignedInClient,
  { name, key, signer }: PublishedForTest,
  version: string,
): Promise<void> {
  const manifest = manifestOf(name, version, key)
  await release(admin, signer, { name, version, manifest, store: 'none' })
  await admin.send('PUT', `/releases/images/${name}/channels/test`, { version }, any)
}

/** Signs what awaits it of a role. */
export async function signForTest(admin: SignedInClient, signer: ReleaseSigner, role: string): Promise<void> {
  const { metadata } = await admin.get(`/releases/proposals/${role}`, proposalDetail)
  const signature = await signMetadata(decodeAnyMetadata(Buffer.from(metadata, 'base64url')), signer)
  await admin.send('POST', `/releases/proposals/${role}/signatures`, signature, any)
}

/** @returns the manifest's digest */
async function release(
  admin: SignedInClient,
  signer: ReleaseSigner,
  image: Omit<ImageForTest, 'key'> & { readonly name: string; readonly version: string },
): Promise<string> {
  const { name, version, store } = image
  const manifest = Buffer.from(image.manifest).toString('base64url')
  const answer = z.object({ manifestDigest: z.string() })
  const { manifestDigest } = await admin.send('POST', '/images', { name, version, manifest, store }, answer)
  await admin.send('POST', `/releases/images/${name}/releases`, { version }, any)
  await sign(admin, signer, name)
  return manifestDigest
}

async function sign(admin: SignedInClient, signer: ReleaseSigner, role: string): Promise<void> {
  await signForTest(admin, signer, role)
  await admin.send('POST', '/releases/publications', { roles: [role] }, any)
}

/** A workspace that streams an image where it may, and runs on a host where it may not. */
export function diskWorkspace(image: string, change: Partial<WorkspaceDefinition> = {}): WorkspaceDefinition {
  return {
    id: 'lab',
    name: 'Laboratory',
    description: '',
    icon: 'chart',
    pool: 'default',
    modes: ['streamed-disk', 'hosted-shared'],
    collections: [],
    program: { kind: 'application', command: ['xterm'] },
    disk: { image, channel: 'production', application: 'lab' },
    ...change,
  }
}

/** An image of no bytes. @param vm that it describes */
export function emptyImage(name: string, vm?: VmConfig): ImageForTest {
  const key = randomBytes(32)
  return { key, manifest: manifestOf(name, '1', key, vm), store: 'none' }
}

function manifestOf(name: string, version: string, key: Buffer, vm?: VmConfig): Uint8Array {
  return encodeManifest({
    schema: 1,
    name,
    version,
    sizeBytes: 1024 * 1024,
    chunkBytes: 65_536,
    sectorBytes: 512,
    diskId: randomUUID(),
    merkleRoot: randomBytes(32).toString('hex'),
    keyId: keyIdOf(key),
    storedChunks: 0,
    storedBytes: 0,
    applications: { lab: { command: ['/usr/bin/lab'] } },
    createdAt: new Date().toISOString(),
    ...(vm === undefined ? {} : { vm }),
  })
}
