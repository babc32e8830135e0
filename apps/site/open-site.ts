import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { createPasswordHasher } from '#adapters/identity-local/index.ts'
import { openReplicaDirectory } from '#adapters/replica-directory/index.ts'
import { firstSiteId, type Store } from '#adapters/store-postgres/index.ts'
import { ConfigError } from '#core/config/parse-config.ts'
import { memorySigner } from '#core/release/index.ts'
import { parseNetwork } from '#core/trust/index.ts'
import type { SiteConfig } from './config.ts'
import { createHints } from './hints.ts'
import { refreshAuthority, requireLiving } from './keep-authority.ts'
import { createMetrics } from './metrics.ts'
import { findDirected } from './releases/release-channels.ts'
import type { Site } from './site.ts'
import { openSiteKeys, type SiteKeyName } from './site-keys.ts'

/**
 * Everything a site node works with, without its ports; `trustcast up` prepares a site with it.
 *
 * @param replaced see `openSiteKeys`
 * @throws {SiteKeyError} as `openSiteKeys`; {PkiError} PKI_AUTHORITY_EXPIRED
 */
export async function openSite(
  config: SiteConfig,
  store: Store,
  log: Logger,
  signal: AbortSignal,
  replaced: readonly SiteKeyName[] = [],
): Promise<Site> {
  const now = Date.now
  const { authority, audit, auditKey, directorKey, routeKey, snapshotKey, timestampKey, imageSecret } =
    await openSiteKeys(config, store.db, now, replaced)
  const site: Site = {
    config,
    siteId: authority.siteId,
    accountsOf: await firstSiteId(store.db, authority.siteId),
    origin: new URL(config.url).origin,
    authority,
    routeKey,
    directorKey,
    imageSecret,
    releaseKeys: {
      snapshot: memorySigner(snapshotKey, 'snapshot'),
      timestamp: memorySigner(timestampKey, 'timestamp'),
    },
    findRelease: findDirected(store.db),
    replicas: openReplicaDirectory(config.replicas.folder ?? join(config.state, 'replicas')),
    auditKey,
    trustedProxies: config.trustedProxies.map(parseNetwork),
    returningAt: now(),
    tpmAuthorities: await tpmAuthoritiesOf(config),
    store,
    hints: createHints(store, signal),
    audit,
    hasher: createPasswordHasher(),
    metrics: createMetrics('trustcast'),
    log,
    version: versionOf(),
    now,
  }
  // What hinders its renewal hinders the start only when it is over.
  await refreshAuthority(site).catch((error: unknown) =>
    log.error({ err: error }, 'the authority could not be renewed'),
  )
  requireLiving(site)
  return site
}

export function disposable(store: Store): Store & AsyncDisposable {
  return { ...store, [Symbol.asyncDispose]: () => store.close() }
}

function versionOf(): string {
  const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8')) as {
    version: string
  }
  return version
}

/** @throws when a file cannot be read or holds no certificate: an admin named it */
async function tpmAuthoritiesOf({ tpm }: SiteConfig): Promise<readonly X509Certificate[]> {
  const files = await Promise.all(tpm.authorities.map((path) => readFile(path, 'utf8')))
  return files.flatMap((text, index) => certificatesIn(text, tpm.authorities[index] ?? ''))
}

function certificatesIn(text: string, path: string): readonly X509Certificate[] {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  if (blocks.length === 0)
    throw new ConfigError('CONFIG_INVALID', `tpm.authorities: ${path} holds no certificate (PEM)`, {
      remedy: 'Name files with the certificates of those who certify TPMs.',
    })
  return blocks.map((block) => new X509Certificate(block))
}
