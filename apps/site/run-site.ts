import type { Server } from 'node:https'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Logger, pino } from 'pino'
import {
  type Authority,
  createIdentityKey,
  issueLeaf,
  longestLeafMs,
  renewAt,
  serverTls,
  type TlsIdentity,
  verifyRequest,
} from '#adapters/pki-x509/index.ts'
import {
  catchUpIndex,
  deleteExpiredWebSessions,
  deleteOldFailures,
  deleteOldHandoffs,
  deleteOldTickets,
  isAway,
  migrate,
  openStore,
  type Store,
  type StoreAddress,
} from '#adapters/store-postgres/index.ts'
import { forgetFailuresMs } from '#core/identity/throttle.ts'
import { createAgentPort } from './agents/agent-port.ts'
import type { SiteConfig } from './config.ts'
import { removeOutlivedReplicas } from './data/replica-retention.ts'
import { tidyReplicas } from './data/replicas.ts'
import { createEvidenceDesk } from './evidence/evidence-desk.ts'
import { watchEvidence } from './evidence/watch-evidence.ts'
import { furnish } from './first-start.ts'
import { createPeoplePort } from './http/people-port.ts'
import { keepAuthority } from './keep-authority.ts'
import { watchSessions } from './launches/live-sessions.ts'
import { disposable, openSite } from './open-site.ts'
import { watchDeletions } from './people/deletion.ts'
import { renewReleases } from './releases/release-publishing.ts'
import type { Site } from './site.ts'
import type { SiteKeyName } from './site-keys.ts'

/** How late it may be noticed that a web session has expired: then what was opened from it is frozen. */
const storeSweepMs = 60_000
const replicaSweepMs = 30 * 60_000

/** The console as `npm run console` builds it. */
const consoleDir = join(import.meta.dirname, '../console/dist')

/**
 * Runs a site node until `signal`. Any number of nodes may share a database and a state folder.
 *
 * @param onReady called when both ports serve
 * @param replaced see `openSiteKeys`
 */
export async function runSite(
  config: SiteConfig,
  signal: AbortSignal,
  onReady: (site: Site) => void,
  replaced: readonly SiteKeyName[] = [],
): Promise<void> {
  const log = pino({ name: 'site' })
  await using store = disposable(openStore(config.database))
  await migrateWhenThere(config.database, log, signal)
  void indexAudit(store, log)
  const site = await openSite(config, store, log, signal, replaced)
  await furnish(site)
  const identity = await issueOwn(site.authority, config)
  const desk = createEvidenceDesk(site, signal)
  void watchEvidence(site, desk, signal)
  const agents = createAgentPort(site, identity, desk, signal)
  const people = await createPeoplePort(site, serverTls(identity), consoleDir)
  await listen(agents, config.agents.port, config.agents.address)
  await people.listen({ port: config.listen.port, host: config.listen.address })
  const renew = async (): Promise<void> => replaceOwn(site, agents, people.server as unknown as Server)
  void renewOwn(site, renew, signal)
  void keepAuthority(site, renew, signal)
  void watchDeletions(site, signal)
  void sweepStore(site, signal)
  void sweepReplicas(site, signal)
  void renewReleases(site, signal)
  onReady(site)
  await watchSessions(site, signal)
  await people.close()
}

/** Entries from before the index was there. Whoever reads a time line does it, too, so that it may fail here. */
async function indexAudit({ db }: Store, log: Logger): Promise<void> {
  await catchUpIndex(db).catch((error: unknown) => {
    if (!isAway(error)) log.error({ err: error }, 'the audit log could not be indexed')
  })
}

/** A database that starts after the site is no reason to give up. */
async function migrateWhenThere(address: StoreAddress, log: Logger, signal: AbortSignal): Promise<void> {
  for (;;) {
    try {
      const done = await migrate(address)
      if (done.length > 0) log.info({ migrations: done }, 'the database was brought to this version')
      return
    } catch (error) {
      if (!isAway(error) || signal.aborted) throw error
      log.warn(`${(error as Error).message}; waiting for it`)
      await sleep(1_000, undefined, { signal })
    }
  }
}

async function issueOwn(authority: Authority, config: SiteConfig): Promise<TlsIdentity> {
  const key = await createIdentityKey()
  const names = [...new Set([new URL(config.url).hostname, new URL(config.agents.url).hostname, 'localhost'])]
  const leaf = await issueLeaf(authority, {
    publicKey: verifyRequest(key.requestPem),
    role: 'site',
    id: 'node',
    dnsNames: names.filter((name) => !isAddress(name)),
    ipAddresses: ['127.0.0.1', '::1', ...names.filter(isAddress)],
    usages: 'server',
    lifetimeMs: longestLeafMs,
    now: Date.now(),
  })
  return { chainPem: leaf.chainPem, privateKeyPem: key.privateKeyPem }
}

function isAddress(name: string): boolean {
  return /^[\d.]+$/.test(name) || name.includes(':')
}

/** Puts a fresh certificate in place; connections that exist go on. */
async function replaceOwn(site: Site, agents: Server, people: Server): Promise<void> {
  const identity = await issueOwn(site.authority, site.config)
  agents.setSecureContext(serverTls(identity, site.authority.rootPem))
  people.setSecureContext(serverTls(identity))
}

/** At half of each certificate's life. One that ends sooner, with its issuer, is replaced as soon as there is another issuer. */
async function renewOwn(site: Site, renew: () => Promise<void>, signal: AbortSignal): Promise<void> {
  for (;;) {
    const now = site.now()
    const at = renewAt({ notBefore: now, notAfter: now + longestLeafMs }, Math.random())
    try {
      await sleep(at - now, undefined, { signal })
      await renew()
    } catch (error) {
      if (signal.aborted) return
      site.log.error({ err: error }, 'the certificate could not be renewed')
      await sleep(60_000, undefined, { signal }).catch(() => {})
    }
  }
}

async function listen(server: Server, port: number, host: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ port, host }, resolve)
  })
}

/** Any node does it; of several at once each finds less to do. */
async function sweepReplicas(site: Site, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      await sleep(replicaSweepMs * (0.5 + Math.random()), undefined, { signal })
      await removeOutlivedReplicas(site)
      await tidyReplicas(site)
    } catch (error) {
      if (!signal.aborted && !isAway(error)) site.log.error({ err: error }, 'replicas could not be tidied up')
    }
  }
}

/** Removes what nobody needs any more. */
async function sweepStore(site: Site, signal: AbortSignal): Promise<void> {
  const { db } = site.store
  while (!signal.aborted) {
    try {
      await sleep(storeSweepMs, undefined, { signal })
      const now = site.now()
      await deleteExpiredWebSessions(db, new Date(now))
      await deleteOldFailures(db, new Date(now - forgetFailuresMs))
      await deleteOldTickets(db, new Date(now - 60 * 60_000))
      await deleteOldHandoffs(db, new Date(now - 60 * 60_000))
    } catch (error) {
      if (!signal.aborted && !isAway(error)) site.log.error({ err: error }, 'old rows could not be removed')
    }
  }
}
