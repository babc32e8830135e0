import { sql } from 'kysely'
import type { EndpointEvidenceRow, EndpointStatementRow, NewEvidence } from './schema.ts'
import type { Db } from './store.ts'

/** What is known of endpoints. Written when it changes; that evidence came at all, for many endpoints at once. */

export async function evidenceOf(db: Db, endpointId: string): Promise<EndpointEvidenceRow | undefined> {
  return db
    .selectFrom('endpoint_evidence')
    .selectAll()
    .where('endpoint_id', '=', endpointId)
    .executeTakeFirst()
}

/** Of each that has any, by its id. */
export async function evidenceOfAll(
  db: Db,
  endpointIds: readonly string[],
): Promise<ReadonlyMap<string, EndpointEvidenceRow>> {
  const rows = await db
    .selectFrom('endpoint_evidence')
    .selectAll()
    .where(sql<boolean>`endpoint_id = any(${endpointIds}::uuid[])`)
    .execute()
  return new Map(rows.map((row) => [row.endpoint_id, row]))
}

/** What other systems say of an endpoint and that has not expired. */
export async function statementsOf(
  db: Db,
  now: Date,
  endpointId: string,
): Promise<readonly EndpointStatementRow[]> {
  return db
    .selectFrom('endpoint_statements')
    .selectAll()
    .where('expires_at', '>', now)
    .where('endpoint_id', '=', endpointId)
    .orderBy('system')
    .orderBy('claim')
    .execute()
}

/** The same of several endpoints: of each of which anything is said, by its id. */
export async function statementsOfAll(
  db: Db,
  now: Date,
  endpointIds: readonly string[],
): Promise<ReadonlyMap<string, readonly EndpointStatementRow[]>> {
  const rows = await db
    .selectFrom('endpoint_statements')
    .selectAll()
    .where('expires_at', '>', now)
    .where(sql<boolean>`endpoint_id = any(${endpointIds}::uuid[])`)
    .orderBy('system')
    .orderBy('claim')
    .execute()
  return Map.groupBy(rows, (row) => row.endpoint_id)
}

/** Each replaces what its system said of the same claim before. Rows are locked in one order. */
export async function putStatements(db: Db, rows: readonly EndpointStatementRow[]): Promise<void> {
  await db.transaction().execute(async (tx) => {
    for (const row of rows.toSorted((a, b) => (keyOf(a) < keyOf(b) ? -1 : Number(keyOf(a) > keyOf(b)))))
      await tx
        .insertInto('endpoint_statements')
        .values(row)
        .onConflict((conflict) =>
          conflict
            .columns(['endpoint_id', 'system', 'claim'])
            .doUpdateSet({ value: row.value, at: row.at, expires_at: row.expires_at }),
        )
        .execute()
  })
}

function keyOf({ endpoint_id, system, claim }: EndpointStatementRow): string {
  return `${endpoint_id} ${system} ${claim}`
}

/**
 * Writes what is known of an endpoint now.
 *
 * @param row of the version after the one that was read; 1 when there was none
 * @returns false when somebody else has changed it meanwhile: then nothing is written
 */
export async function writeEvidence(db: Db, row: NewEvidence): Promise<boolean> {
  const written = await db
    .insertInto('endpoint_evidence')
    .values(row)
    .onConflict((conflict) =>
      conflict
        .column('endpoint_id')
        .doUpdateSet(row)
        .where('endpoint_evidence.version', '=', row.version - 1),
    )
    .returning('endpoint_id')
    .executeTakeFirst()
  return written !== undefined
}

/** Evidence that says what was known already. */
export interface RepeatedEvidence {
  readonly endpointId: string
  /** Sequence that it was judged after. */
  readonly after: number
  readonly sequence: number
  readonly basis: number
  readonly at: number
}

/**
 * Writes down that evidence came, of any number of endpoints.
 *
 * @returns ids of those for which it holds; another node has changed the others meanwhile, or they count as silent or forked
 */
export async function recordRepeatedEvidence(
  db: Db,
  evidence: readonly RepeatedEvidence[],
): Promise<ReadonlySet<string>> {
  if (evidence.length === 0) return new Set()
  const { rows } = await sql<{ endpoint_id: string }>`
    update endpoint_evidence e set sequence = v.sequence, basis = v.basis, last_at = v.at
    from unnest(${evidence.map((one) => one.endpointId)}::uuid[], ${evidence.map((one) => one.after)}::bigint[],
      ${evidence.map((one) => one.sequence)}::bigint[], ${evidence.map((one) => one.basis)}::bigint[],
      ${evidence.map((one) => new Date(one.at))}::timestamptz[]) as v(id, after, sequence, basis, at)
    where e.endpoint_id = v.id and e.sequence = v.after and e.forked_at is null and not e.silent
    returning e.endpoint_id`.execute(db)
  return new Set(rows.map((row) => row.endpoint_id))
}

/** Notes that agents are connected, of any number of them. */
export async function recordPresence(db: Db, ids: readonly string[], at: Date): Promise<void> {
  if (ids.length === 0) return
  await db
    .updateTable('agents')
    .set({ last_seen_at: at })
    .where(sql<boolean>`id = any(${ids}::uuid[])`)
    .execute()
}

/** Endpoints that have not been heard of since and do not count as silent yet. */
export async function quietEndpoints(db: Db, since: Date): Promise<readonly string[]> {
  const rows = await db
    .selectFrom('endpoint_evidence as e')
    .innerJoin('agents as a', 'a.id', 'e.endpoint_id')
    .select('e.endpoint_id')
    .where('e.silent', '=', false)
    .where('e.last_at', '<', since)
    .where('a.revoked_at', 'is', null)
    .limit(20_000)
    .execute()
  return rows.map((row) => row.endpoint_id)
}

/** Notes that an endpoint said goodbye. It holds until evidence comes again. */
export async function recordFarewell(db: Db, endpointId: string, at: Date): Promise<void> {
  await db
    .updateTable('endpoint_evidence')
    .set({ left_at: at })
    .where('endpoint_id', '=', endpointId)
    .execute()
}

/** How many endpoints there are to judge a fall by. */
export interface FallCount {
  /** Whose claims fell and did not come back. */
  readonly fallen: number
  /** They, and who was heard of. */
  readonly reporting: number
}

/**
 * @param since from when on a fall counts; from `recent` on of silent endpoints from which nothing runs: they may have been taken home;
 *   and from when on who was heard of reports
 */
export async function countFallen(
  db: Db,
  since: { readonly fell: Date; readonly recent: Date; readonly heard: Date },
): Promise<FallCount> {
  const isFallen = sql<boolean>`e.fell_at > ${since.fell} and (not e.silent or e.fell_at > ${since.recent}
    or exists (select from sessions s where s.from_endpoint_id = e.endpoint_id and s.state <> 'ended'))`
  const row = await db
    .selectFrom('endpoint_evidence as e')
    .innerJoin('agents as a', 'a.id', 'e.endpoint_id')
    .select((eb) => [
      eb.fn.countAll<string>().filterWhere(isFallen).as('fallen'),
      eb.fn.countAll<string>().as('reporting'),
    ])
    .where('a.revoked_at', 'is', null)
    .where((eb) => eb.or([eb('e.last_at', '>', since.heard), isFallen]))
    .executeTakeFirstOrThrow()
  return { fallen: Number(row.fallen), reporting: Number(row.reporting) }
}
