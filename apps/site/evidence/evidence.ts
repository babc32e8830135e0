import { createSecretKey, hkdfSync, type KeyObject } from 'node:crypto'
import {
  type EndpointEvidenceRow,
  type EndpointStatementRow,
  evidenceOf,
  evidenceOfAll,
  type NewEvidence,
  statementsOf,
  statementsOfAll,
  writeEvidence,
} from '#adapters/store-postgres/index.ts'
import type { AuditActor } from '#core/audit/leaf.ts'
import {
  beforeTheFall,
  type ClaimChange,
  changesBetween,
  claimsOf,
  type EndpointKnowledge,
  type EvidenceErrorCode,
  evidenceSilenceMs,
  fallenAfter,
  hasWorsened,
  noKnowledge,
  type Ratchet,
  type SystemStatement,
  settledClaims,
} from '#core/evidence/index.ts'
import type { BeaconSeen, Claim } from '#core/trust/index.ts'
import { decideAgain } from '../launches/decide-again.ts'
import type { Site } from '../site.ts'
import { createTurns } from '../turns.ts'

/** What the site knows of endpoints by their evidence, and what follows when it changes. */

const keptChanges = 30

/** Makes ratchet tokens and nonces; every node of the site has the same. */
export function evidenceSecret({ imageSecret, siteId }: Pick<Site, 'imageSecret' | 'siteId'>): KeyObject {
  return createSecretKey(Buffer.from(hkdfSync('sha256', imageSecret, siteId, 'trustcast evidence', 32)))
}

/** What a decision knows of an endpoint beyond that it is enrolled. */
export interface EndpointEvidence {
  readonly claims: readonly Claim[]
  /** From where its agent is connected; absent when it is not heard of. */
  readonly address?: string
  /** What became of the last word of a beacon that it brought. */
  readonly beacon?: BeaconSeen
}

/** What is decided with it. */
export interface EvidenceUse {
  /** While a brake holds: running work is decided by what its endpoint said before it fell. */
  readonly asBefore?: boolean
  /** For work that runs: its endpoint is not silent while it may wait to be heard again. */
  readonly isRunning?: boolean
}

export async function readEvidence(
  site: Site,
  endpointId: string,
  use: EvidenceUse = {},
): Promise<EndpointEvidence> {
  const { db } = site.store
  const [row, statements] = await Promise.all([
    evidenceOf(db, endpointId),
    statementsOf(db, new Date(site.now()), endpointId),
  ])
  return evidenceNow(site, row, statements, use)
}

/** The same of several endpoints, by their ids. */
export async function readEvidenceOfAll(
  site: Site,
  endpointIds: readonly string[],
  use: EvidenceUse = {},
): Promise<ReadonlyMap<string, EndpointEvidence>> {
  const { db } = site.store
  const [rows, statements] = await Promise.all([
    evidenceOfAll(db, endpointIds),
    statementsOfAll(db, new Date(site.now()), endpointIds),
  ])
  return new Map(
    endpointIds.map((id) => [id, evidenceNow(site, rows.get(id), statements.get(id) ?? [], use)]),
  )
}

function evidenceNow(
  site: Site,
  row: EndpointEvidenceRow | undefined,
  statements: readonly EndpointStatementRow[],
  { asBefore = false, isRunning = false }: EvidenceUse,
): EndpointEvidence {
  const now = site.now()
  const isWaiting = isRunning && isReturning(site) && row?.silent === false && row.last_at !== null
  return evidenceAt(isWaiting ? { ...row, last_at: new Date(now) } : row, statements, now, { asBefore })
}

/** A site that was away has heard of nobody, and a node that was has sent its endpoints elsewhere: whoever comes back within two periods was never silent. */
export function isReturning({ returningAt, now }: Pick<Site, 'returningAt' | 'now'>): boolean {
  return now() - returningAt <= evidenceSilenceMs
}

export function evidenceAt(
  row: EndpointEvidenceRow | undefined,
  statements: readonly EndpointStatementRow[],
  now: number,
  { asBefore = false } = {},
): EndpointEvidence {
  const claims = claimsOf(knowledgeOf(row), statements.map(statementOf), now)
  const isCurrent = isReportingIn(claims)
  return {
    claims: asBefore && row !== undefined ? beforeTheFall(claims, row.fallen, now) : claims,
    ...(isCurrent && row !== undefined && row.address !== '' ? { address: row.address } : {}),
    ...(isCurrent && row?.beacon != null ? { beacon: row.beacon } : {}),
  }
}

/** Whether its evidence comes as it should. */
export function isReporting(row: EndpointEvidenceRow | undefined, now: number): boolean {
  return isReportingIn(claimsOf(knowledgeOf(row), [], now))
}

function isReportingIn(claims: readonly Claim[]): boolean {
  return claims.some(({ name, value }) => name === 'endpoint.reporting' && value === 'current')
}

export function knowledgeOf(row: EndpointEvidenceRow | undefined): EndpointKnowledge {
  if (row === undefined) return noKnowledge
  return {
    lastAt: row.last_at?.getTime(),
    observations: row.observations,
    attested: row.attested ?? undefined,
    seen: row.seen ?? undefined,
    path: row.path ?? undefined,
    isForked: row.forked_at !== null,
  }
}

/** Undefined before the first statement. */
export function ratchetOf(row: EndpointEvidenceRow | undefined): Ratchet | undefined {
  return row === undefined || row.sequence === '0'
    ? undefined
    : { sequence: Number(row.sequence), basis: Number(row.basis) }
}

export function statementOf({ system, claim, value, at, expires_at }: EndpointStatementRow): SystemStatement {
  return { system, claim, value, at: at.getTime(), expiresAt: expires_at.getTime() }
}

/** A change of what is known of an endpoint. */
export interface KnowledgeChange {
  readonly knowledge: EndpointKnowledge
  readonly ratchet?: Ratchet | undefined
  readonly address?: string
  readonly beacon?: BeaconSeen | undefined
  readonly silent?: boolean
  /** It said goodbye before: many may do so at once, and nothing is at fault. */
  readonly isAnnounced?: boolean
}

/** What became of a change. */
export interface Changed {
  readonly changes: readonly ClaimChange[]
}

/**
 * Changes what is known of one endpoint, writes down which claims became others, in the audit log first, and has what hangs on it decided
 * again.
 *
 * @param change told what is there now; gives undefined to leave it so
 * @throws what `change` throws: then nothing has changed
 */
export async function changeKnowledge(
  site: Site,
  endpointId: string,
  change: (before: EndpointEvidenceRow | undefined) => KnowledgeChange | undefined,
  actor: AuditActor = { type: 'endpoint', id: endpointId },
): Promise<Changed | undefined> {
  return changing.take(() => changeInTurn(site, endpointId, change, actor))
}

async function changeInTurn(
  site: Site,
  endpointId: string,
  change: (before: EndpointEvidenceRow | undefined) => KnowledgeChange | undefined,
  actor: AuditActor,
): Promise<Changed | undefined> {
  const { db } = site.store
  for (;;) {
    const now = site.now()
    const [before, statements] = await Promise.all([
      evidenceOf(db, endpointId),
      statementsOf(db, new Date(now), endpointId),
    ])
    const next = change(before)
    if (next === undefined) return undefined
    const settled = settledClaims(claimsOf(next.knowledge, statements.map(statementOf), now), now)
    const changes = changesBetween(before?.settled ?? {}, settled)
    if (changes.length > 0)
      await site.audit.record('trust-changed', actor, endpointId, {
        changes: changes.map(({ claim, from, to }) => ({ claim, from, to })),
      })
    const row = rowAfter(endpointId, before, next, { settled, changes, now })
    // Somebody else was quicker: what they wrote is where this begins.
    if (!(await writeEvidence(db, row))) continue
    await actOn(site, endpointId, before, next, changes)
    return { changes }
  }
}

/** What hangs on the endpoint is decided again, wherever it runs. */
async function actOn(
  site: Site,
  endpointId: string,
  before: EndpointEvidenceRow | undefined,
  next: KnowledgeChange,
  changes: readonly ClaimChange[],
): Promise<void> {
  const isMoved =
    (next.address ?? before?.address) !== before?.address ||
    ('beacon' in next && next.beacon?.kind !== before?.beacon?.kind)
  if (changes.length > 0) site.metrics.count('trust_changes')
  if (changes.length > 0 || isMoved)
    await decideAgain(site, changes.length > 0 ? 'evidence' : 'zone', { fromEndpointId: endpointId })
  await site.hints.tell({ topic: 'endpoint', id: endpointId })
}

/** Many endpoints may change at once; people's requests are to find a free connection to the database all the same. */
const changing = createTurns(6)

function rowAfter(
  endpointId: string,
  before: EndpointEvidenceRow | undefined,
  change: KnowledgeChange,
  made: {
    readonly settled: ReturnType<typeof settledClaims>
    readonly changes: readonly ClaimChange[]
    readonly now: number
  },
): NewEvidence {
  const { ratchet, address, silent = false, isAnnounced = false } = change
  const { lastAt, observations, attested, seen, path, isForked } = change.knowledge
  const { settled, changes, now } = made
  const fallen = fallenAfter(before?.fallen ?? {}, before?.settled ?? {}, settled)
  // Whoever was silent and says worse now falls once more.
  const hasFallen = !isAnnounced && hasWorsened(before?.settled ?? {}, settled)
  const at = new Date(now)
  const noted = changes.length === 0 ? [] : [{ at: at.toISOString(), changes: [...changes] }]
  return {
    endpoint_id: endpointId,
    version: (before?.version ?? 0) + 1,
    sequence: ratchet?.sequence ?? Number(before?.sequence ?? 0),
    basis: ratchet?.basis ?? Number(before?.basis ?? 0),
    last_at: lastAt === undefined ? null : new Date(lastAt),
    address: address ?? before?.address ?? '',
    observations: JSON.stringify(observations),
    attested: jsonOrNull(attested),
    seen: jsonOrNull(seen),
    path: jsonOrNull(path),
    beacon: jsonOrNull('beacon' in change ? change.beacon : (before?.beacon ?? undefined)),
    forked_at: isForked ? (before?.forked_at ?? at) : null,
    silent,
    settled: JSON.stringify(settled),
    fallen: JSON.stringify(fallen),
    fell_at: Object.keys(fallen).length === 0 ? null : hasFallen ? at : (before?.fell_at ?? null),
    changes: JSON.stringify([...noted, ...(before?.changes ?? [])].slice(0, keptChanges)),
  }
}

function jsonOrNull(value: object | undefined): string | null {
  return value === undefined ? null : JSON.stringify(value)
}

/** Its evidence must not count any more: another machine has its key, or it was put back. */
export async function markForked(site: Site, endpointId: string): Promise<void> {
  await changeKnowledge(site, endpointId, (before) => ({
    knowledge: { ...knowledgeOf(before), isForked: true },
    silent: true,
  }))
}

/** Whoever speaks for it brought a quote that its TPM did not make: what that TPM has shown before does not speak for them. */
export async function forgetAttested(site: Site, endpointId: string): Promise<void> {
  await changeKnowledge(site, endpointId, (before) =>
    before?.attested == null
      ? undefined
      : { knowledge: { ...knowledgeOf(before), attested: undefined }, silent: before.silent },
  )
}

/** Lets an endpoint that was put back begin anew: whichever machine of its key reports first from now on is it. */
export async function forgiveFork(site: Site, endpointId: string, actor: AuditActor): Promise<boolean> {
  if ((await evidenceOf(site.store.db, endpointId))?.forked_at == null) return false
  await site.audit.record('admin-change', actor, endpointId, { evidence: 'begins anew' })
  const changed = await changeKnowledge(
    site,
    endpointId,
    (before) =>
      before?.forked_at == null
        ? undefined
        : { knowledge: noKnowledge, ratchet: { sequence: 0, basis: 0 }, silent: true },
    actor,
  )
  return changed !== undefined
}

/** Writes down that evidence was sent over another connection than it came by. */
export async function recordOtherConnection(site: Site, endpointId: string): Promise<void> {
  const code: EvidenceErrorCode = 'EVIDENCE_OTHER_CONNECTION'
  const reason = 'Somebody between the endpoint and the site opens its connections'
  site.metrics.count('evidence_refused', { code })
  await site.audit.record('evidence-refused', { type: 'endpoint', id: endpointId }, undefined, {
    code,
    reason,
  })
}

/** Notes whether somebody opens a connection of the endpoint other than its agent's own. */
export async function noteInterception(
  site: Site,
  endpointId: string,
  interception: 'none' | 'detected' | 'unknown',
): Promise<void> {
  const at = site.now()
  await changeKnowledge(site, endpointId, (before) =>
    // That nothing was found is worth a line only where something was.
    interception !== 'detected' && before?.path?.interception !== 'detected'
      ? undefined
      : {
          knowledge: { ...knowledgeOf(before), path: { interception, at } },
          silent: before?.silent ?? true,
        },
  )
}
