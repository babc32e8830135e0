import { access } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isRenewalDue, openAuthority, PkiError, renewIntermediate } from '#adapters/pki-x509/index.ts'
import { isAway } from '#adapters/store-postgres/index.ts'
import { nodeName, raise, settle } from './evidence/alarms.ts'
import type { Site } from './site.ts'

/** The intermediate certificate lives a year, the root ten; everything that the site certifies ends with them. */

/** So long an admin has to move a site to another root: every machine is enrolled anew for it. */
const rootWarningMs = 365 * 86_400_000
/** How soon a node begins to use what an admin has renewed. */
const lookMs = 30_000

/**
 * Looks after the authority until the signal: renews it when it is time and the root key is there, begins to use what was renewed
 * elsewhere, calls admins otherwise. Every node runs this.
 *
 * @param onRenewed awaited when another intermediate is in use
 */
export async function keepAuthority(
  site: Site,
  onRenewed: () => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      await sleep(lookMs, undefined, { signal })
      try {
        if (await refreshAuthority(site)) await onRenewed()
      } finally {
        // Its end is told also when it cannot be renewed.
        await warn(site)
        await warnOfRoot(site)
      }
    } catch (error) {
      if (!signal.aborted && !isAway(error))
        site.log.error({ err: error }, 'the authority could not be looked after')
    }
  }
}

/**
 * Takes the authority as it is in the state folder, renewed first when it is time and the root key is there.
 *
 * @returns whether it is another now
 * @throws {PkiError} PKI_AUTHORITY_MISSING, PKI_AUTHORITY_BROKEN, PKI_OTHER_ROOT
 */
export async function refreshAuthority(site: Site): Promise<boolean> {
  const dir = authorityDir(site.config)
  let found = await openAuthority(dir)
  if (isRenewalDue(found, site.now()) && (await hasRootKey(dir))) {
    await renewIntermediate({ dir, now: site.now() })
    found = await openAuthority(dir)
  }
  const { rootPem, intermediatePem } = site.authority
  if (found.intermediatePem === intermediatePem) return false
  if (found.rootPem !== rootPem) {
    throw new PkiError('PKI_OTHER_ROOT', `${dir} holds another root than when this node started`, {
      remedy: `Put the site's own folder back in its place.`,
    })
  }
  await site.audit.record('admin-change', { type: 'site', id: site.siteId }, undefined, {
    change: 'intermediate certificate',
    node: nodeName(site),
    until: dateOf(found.intermediateNotAfter),
  })
  site.authority = found
  return true
}

export function authorityDir({ state }: { readonly state: string }): string {
  return join(state, 'pki')
}

/** @throws {PkiError} PKI_AUTHORITY_EXPIRED when nothing can be issued, or nobody would trust it, any more */
export function requireLiving(site: Site): void {
  const { authority, config } = site
  if (authority.rootNotAfter <= site.now())
    throw new PkiError(
      'PKI_AUTHORITY_EXPIRED',
      `the site's root certificate ended on ${dateOf(authority.rootNotAfter)}`,
      {
        remedy: anotherRoot,
      },
    )
  if (authority.intermediateNotAfter > site.now()) return
  const ended = dateOf(authority.intermediateNotAfter)
  throw new PkiError('PKI_AUTHORITY_EXPIRED', `the site's intermediate certificate ended on ${ended}`, {
    remedy: howToRenew(config),
  })
}

async function warn(site: Site): Promise<void> {
  const key = `authority-ends:${nodeName(site)}`
  const { authority, config } = site
  if (!isRenewalDue(authority, site.now())) return settle(site, key)
  const end = dateOf(authority.intermediateNotAfter)
  return raise(site, {
    key,
    kind: 'authority',
    message: `The certificate authority of node ${nodeName(site)} ends on ${end}: then no browser, device, host or gateway can reach the site any more`,
    remedy: howToRenew(config),
  })
}

/** One for all nodes: they have the same. */
async function warnOfRoot(site: Site): Promise<void> {
  const key = 'root-ends'
  const { rootNotAfter } = site.authority
  if (rootNotAfter - site.now() >= rootWarningMs) return settle(site, key)
  return raise(site, {
    key,
    kind: 'authority',
    message: `The root certificate of this site ends on ${dateOf(rootNotAfter)}: then nothing trusts the site any more, and it cannot be renewed`,
    remedy: anotherRoot,
  })
}

const anotherRoot =
  'Move the site to another root before: docs/configuration.md, "When the root ends". Every device, host and gateway is enrolled anew.'

function howToRenew({ state }: { readonly state: string }): string {
  return `Where that node runs: trustcast authority renew FOLDER --state ${state}, with the folder that holds root.key.`
}

async function hasRootKey(dir: string): Promise<boolean> {
  return access(join(dir, 'root.key')).then(
    () => true,
    () => false,
  )
}

function dateOf(time: number): string {
  return new Date(time).toISOString().slice(0, 10)
}
