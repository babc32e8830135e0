import { createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import { access, mkdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type Authority, createAuthority, openAuthority, PkiError } from '#adapters/pki-x509/index.ts'
import { type Db, readCheckpoint } from '#adapters/store-postgres/index.ts'
import { makeFile } from '#apps/agent-client/make-file.ts'
import { encodeVerifierKey } from '#core/audit/index.ts'
import { CodedError } from '#core/errors/coded-error.ts'
import { type AuditLog, openAuditLog } from './audit-log.ts'
import type { SiteConfig } from './config.ts'
import { authorityDir } from './keep-authority.ts'

/** What a site is known by and cannot do without: the authority, and a file of its own for each key. */
export const siteKeyNames = ['pki', 'audit', 'director', 'images', 'route', 'snapshot', 'timestamp'] as const
export type SiteKeyName = (typeof siteKeyNames)[number]

export type SiteKeyErrorCode =
  /** A site that has run before lacks a key. */
  | 'SITE_KEY_LOST'
  /** What was to be replaced is not lost. */
  | 'SITE_KEY_NOT_LOST'
export class SiteKeyError extends CodedError<SiteKeyErrorCode> {}

export interface SiteKeys {
  readonly authority: Authority
  readonly audit: AuditLog
  /** The audit log's verifier key. */
  readonly auditKey: string
  readonly directorKey: KeyObject
  readonly routeKey: KeyObject
  readonly snapshotKey: KeyObject
  readonly timestampKey: KeyObject
  /** 32 bytes. */
  readonly imageSecret: Uint8Array
}

/**
 * Opens what is in the state folder, and the log. A new site's keys are made. One that is missing once the log has begun was lost, and is
 * refused: another in its place would be believed by nobody who knew the first.
 *
 * @param replaced lost keys that an admin goes on without: others are made, and the log tells of it
 * @throws {SiteKeyError} SITE_KEY_LOST, SITE_KEY_NOT_LOST
 */
export async function openSiteKeys(
  config: SiteConfig,
  db: Db,
  now: () => number,
  replaced: readonly SiteKeyName[],
): Promise<SiteKeys> {
  const missing = await missingKeys(config)
  const hasRun = (await readCheckpoint(db)) !== undefined
  if (hasRun) refuseLost(config, missing, replaced)
  // These sign the log itself: whoever knows its key sees that another signs now.
  for (const name of missing.filter(isOfLog)) await makeKey(config, name)
  const authority = await openAuthority(authorityDir(config))
  const signer = { name: `trustcast.${authority.siteId}`, privateKey: await readKey(config, 'audit') }
  const audit = openAuditLog(db, signer, now)
  if (hasRun) {
    const actor = { type: 'site', id: authority.siteId } as const
    for (const name of missing)
      await audit.record('admin-change', actor, undefined, { change: `lost key replaced: ${name}` })
  }
  for (const name of missing.filter((one) => !isOfLog(one))) await makeKey(config, name)
  return {
    authority,
    audit,
    auditKey: encodeVerifierKey(signer.name, signer.privateKey),
    directorKey: await readKey(config, 'director'),
    routeKey: await readKey(config, 'route'),
    snapshotKey: await readKey(config, 'snapshot'),
    timestampKey: await readKey(config, 'timestamp'),
    imageSecret: Buffer.from(await readFile(pathOf(config, 'images'), 'utf8'), 'base64url'),
  }
}

function refuseLost(
  config: SiteConfig,
  missing: readonly SiteKeyName[],
  replaced: readonly SiteKeyName[],
): void {
  const there = replaced.find((name) => !missing.includes(name))
  if (there !== undefined) {
    throw new SiteKeyError('SITE_KEY_NOT_LOST', `${pathOf(config, there)} is there`, {
      remedy: `Start without --replace-lost ${there}.`,
    })
  }
  const lost = missing.filter((name) => !replaced.includes(name))
  if (lost.length === 0) return
  const files = lost.map((name) => pathOf(config, name)).join(', ')
  const words = lost.map((name) => `--replace-lost ${name}`).join(' ')
  throw new SiteKeyError('SITE_KEY_LOST', `this site has run before, and now there is no ${files}`, {
    remedy: `Restore it from the backup. To go on without it, for good, start once with ${words}: docs/configuration.md says what that costs.`,
  })
}

async function missingKeys(config: SiteConfig): Promise<readonly SiteKeyName[]> {
  const there = await Promise.all(
    siteKeyNames.map(async (name) => {
      const files = name === 'pki' ? ['root.pem', 'intermediate.pem'] : ['']
      return Promise.all(files.map(async (file) => access(join(pathOf(config, name), file)))).then(
        () => true,
        (error: NodeJS.ErrnoException) => {
          if (error.code !== 'ENOENT') throw error
          return false
        },
      )
    }),
  )
  return siteKeyNames.filter((_, index) => there[index] !== true)
}

function isOfLog(name: SiteKeyName): boolean {
  return name === 'pki' || name === 'audit'
}

function pathOf(config: SiteConfig, name: SiteKeyName): string {
  return name === 'pki' ? authorityDir(config) : join(config.state, 'keys', `${name}.key`)
}

/** Of nodes that begin at once one makes it, and all use that. */
async function makeKey(config: SiteConfig, name: SiteKeyName): Promise<void> {
  const path = pathOf(config, name)
  if (name === 'pki') {
    await createAuthority({ dir: path, siteName: config.name, now: Date.now() }).catch((error: unknown) => {
      if (!(error instanceof PkiError && error.code === 'PKI_AUTHORITY_EXISTS')) throw error
    })
    return
  }
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const fresh =
    name === 'images'
      ? randomBytes(32).toString('base64url')
      : String(generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }))
  await makeFile(path, fresh)
}

async function readKey(config: SiteConfig, name: Exclude<SiteKeyName, 'pki' | 'images'>): Promise<KeyObject> {
  return createPrivateKey(await readFile(pathOf(config, name), 'utf8'))
}
