import { randomInt, randomUUID } from 'node:crypto'
import {
  answerEnrolmentRequest,
  countEnrolmentRequests,
  deleteOldEnrolmentRequests,
  type EnrolmentRequestRow,
  enrolmentRequest,
  insertEnrolmentRequest,
  insertEnrolmentToken,
  personByLogin,
  waitingEnrolmentRequests,
} from '#adapters/store-postgres/index.ts'
import type { AuditActor } from '#core/audit/leaf.ts'
import { sourceOf } from '#core/identity/throttle.ts'
import type { Site } from '../site.ts'
import { nobodyCalled, notFound, SiteError } from '../site-error.ts'
import { hashOfSecret } from './tpm-enrolment.ts'

/**
 * Machines that ask to become endpoints without a token. Each shows a code that the site has made, which an admin compares before they
 * approve; approval makes the machine's own secret a token, so that everything after it is as with any token.
 */

const requestLifetimeMs = 60 * 60_000
/** For the machine, which asks every few seconds, to come and use it. */
const tokenLifetimeMs = 10 * 60_000
const most = { fromSource: 5, inAll: 200 }
/** Without letters and digits that are mistaken for each other. */
const alphabet = 'BCDFGHJKLMNPQRSTVWXZ23456789'
const codeChars = 8

/** @throws {SiteError} TOO_FAST when too many wait, CONFLICT when this secret asks already */
export async function requestEnrolment(
  site: Site,
  wish: { readonly secret: string; readonly name: string; readonly address: string },
): Promise<{ readonly code: string; readonly expiresAt: string }> {
  const { db } = site.store
  const now = site.now()
  const secretHash = secretHashOf(wish.secret)
  await deleteOldEnrolmentRequests(db, new Date(now))
  if ((await enrolmentRequest(db, { secretHash }, new Date(now))) !== undefined) throw asksAlready()
  const row: EnrolmentRequestRow = {
    id: randomUUID(),
    secret_hash: secretHash,
    code: newCode(),
    name: wish.name,
    source: sourceOf(wish.address),
    address: wish.address,
    state: 'waiting',
    requested_at: new Date(now),
    expires_at: new Date(now + requestLifetimeMs),
  }
  const { inAll, fromSource } = await countEnrolmentRequests(db, row.source)
  // Before anything is written down of it; what counts is asked once more when it is stored.
  if (inAll >= most.inAll || fromSource >= most.fromSource) throw tooManyWait()
  await site.audit.record('enrolment-requested', { type: 'system', id: 'enrolment' }, row.id, {
    name: row.name,
    code: row.code,
    address: row.address,
  })
  const stored = await insertEnrolmentRequest(db, row, most)
  if (stored !== 'stored') throw stored === 'full' ? tooManyWait() : asksAlready()
  return { code: row.code, expiresAt: row.expires_at.toISOString() }
}

function asksAlready(): SiteError {
  return new SiteError('CONFLICT', 'this machine asks already', { remedy: 'Run the command again.' })
}

function tooManyWait(): SiteError {
  return new SiteError('TOO_FAST', 'too many machines wait to be let in', {
    remedy: 'Have an admin answer those that wait, or use a token.',
    retryAfter: 60,
  })
}

/** @returns refused also for what is unknown or too old: whoever waits stops */
export async function enrolmentState(site: Site, secret: string): Promise<EnrolmentRequestRow['state']> {
  const secretHash = secretHashOf(secret)
  const row = await enrolmentRequest(site.store.db, { secretHash }, new Date(site.now()))
  return row?.state ?? 'refused'
}

export async function listEnrolmentRequests(site: Site): Promise<readonly EnrolmentRequestRow[]> {
  return waitingEnrolmentRequests(site.store.db, new Date(site.now()))
}

/** @throws {SiteError} NOT_FOUND, CONFLICT when it was answered meanwhile */
export async function approveEnrolment(
  site: Site,
  id: string,
  as: { readonly name: string; readonly group: string; readonly owner: string | undefined },
  actor: AuditActor,
): Promise<void> {
  const { db } = site.store
  const row = await waiting(site, id)
  const owner = as.owner === undefined ? undefined : await personByLogin(db, as.owner)
  if (as.owner !== undefined && owner === undefined) throw nobodyCalled(as.owner, 'owner')
  const expiresAt = new Date(site.now() + tokenLifetimeMs)
  await site.audit.record('enrolment-token', actor, id, {
    kind: 'endpoint',
    name: as.name,
    pool: as.group,
    approved: row.code,
    ...(owner === undefined ? {} : { owner: owner.id }),
    expiresAt: expiresAt.toISOString(),
  })
  await db.transaction().execute(async (tx) => {
    if (!(await answerEnrolmentRequest(tx, id, 'approved'))) throw answered()
    await insertEnrolmentToken(tx, {
      secret_hash: row.secret_hash,
      kind: 'endpoint',
      name: as.name,
      dns_names: [],
      pool: as.group,
      owner_id: owner?.id ?? null,
      expires_at: expiresAt,
    })
  })
}

/** @throws {SiteError} NOT_FOUND, CONFLICT when it was answered meanwhile */
export async function refuseEnrolment(site: Site, id: string, actor: AuditActor): Promise<void> {
  const row = await waiting(site, id)
  await site.audit.record('admin-change', actor, id, {
    change: 'enrolment refused',
    code: row.code,
    name: row.name,
  })
  if (!(await answerEnrolmentRequest(site.store.db, id, 'refused'))) throw answered()
}

async function waiting(site: Site, id: string): Promise<EnrolmentRequestRow> {
  const row = await enrolmentRequest(site.store.db, { id }, new Date(site.now()))
  if (row === undefined) throw notFound('request')
  if (row.state !== 'waiting') throw answered()
  return row
}

function answered(): SiteError {
  return new SiteError('CONFLICT', 'this request was answered already', { remedy: 'Look at the list again.' })
}

function secretHashOf(secret: string): Buffer {
  return hashOfSecret(Buffer.from(secret, 'base64url'))
}

/** 38 bits, chosen by the site: nobody can make a machine show the code of another. */
function newCode(): string {
  const letters = Array.from({ length: codeChars }, () => alphabet[randomInt(alphabet.length)]).join('')
  return `${letters.slice(0, 4)}-${letters.slice(4)}`
}
