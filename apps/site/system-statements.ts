import {
  agentById,
  type EndpointStatementRow,
  putStatements,
  statementsOf,
} from '#adapters/store-postgres/index.ts'
import type { SystemStatementRequest } from '#core/api/evidence.ts'
import type { AuditActor } from '#core/audit/leaf.ts'
import { statableClaims } from '#core/evidence/index.ts'
import { type ClaimName, claimVocabulary, isClaimName, unknownValue } from '#core/trust/index.ts'
import { changeKnowledge, knowledgeOf } from './evidence/evidence.ts'
import type { Site } from './site.ts'
import { notFound, SiteError } from './site-error.ts'

/**
 * What other systems of the organisation, such as an MDM or EDR server, say of endpoints. A connector brings it with an admin's sign-in. It
 * is the word of a second witness: together with the endpoint's own it is `corroborated`, alone it is `server`.
 */

const defaultMinutes = 24 * 60
const maxAheadMs = 60_000

/**
 * @throws {SiteError} NOT_FOUND, BAD_REQUEST for a claim or value that other systems cannot speak about, or a time to come
 */
export async function makeStatements(
  site: Site,
  endpointId: string,
  statements: readonly SystemStatementRequest[],
  actor: AuditActor,
): Promise<readonly EndpointStatementRow[]> {
  const endpoint = await agentById(site.store.db, endpointId)
  if (endpoint?.kind !== 'endpoint') throw notFound('endpoint')
  const rows = statements.map((statement) => rowOf(endpointId, statement, site.now()))
  await site.audit.record('statement-made', actor, endpointId, {
    statements: rows.map(({ system, claim, value, at, expires_at }) => ({
      system,
      claim,
      value,
      at: at.toISOString(),
      until: expires_at.toISOString(),
    })),
  })
  await putStatements(site.store.db, rows)
  await changeKnowledge(
    site,
    endpointId,
    (before) => ({ knowledge: knowledgeOf(before), silent: before?.silent ?? true }),
    actor,
  )
  return statementsOf(site.store.db, new Date(site.now()), endpointId)
}

function rowOf(
  endpointId: string,
  { system, claim, value, at, validMinutes = defaultMinutes }: SystemStatementRequest,
  now: number,
): EndpointStatementRow {
  const observedAt = Date.parse(at)
  if (observedAt > now + maxAheadMs) throw wrong(`${at} has not come yet`)
  return {
    endpoint_id: endpointId,
    system,
    claim: statableClaim(claim),
    value: knownValue(statableClaim(claim), value),
    at: new Date(observedAt),
    expires_at: new Date(observedAt + validMinutes * 60_000),
  }
}

function statableClaim(claim: string): ClaimName {
  if (isClaimName(claim) && statableClaims.includes(claim)) return claim
  throw wrong(`expected one of ${statableClaims.join(', ')}, got ${JSON.stringify(claim)}`)
}

function knownValue(claim: ClaimName, value: string): string {
  const values = claimVocabulary[claim].values.filter((one) => one !== unknownValue)
  if (values.includes(value)) return value
  throw wrong(`expected ${claim} to be one of ${values.join(', ')}, got ${JSON.stringify(value)}`)
}

function wrong(why: string): SiteError {
  return new SiteError('BAD_REQUEST', why, { remedy: 'Correct the statement.' })
}
