import { sql, type Transaction } from 'kysely'
import type { BootRecord, Database, EnrolmentRequestRow, TpmChallengeRow } from './schema.ts'
import type { Db } from './store.ts'

type Queries = Db | Transaction<Database>

/** Keys of endpoints in TPMs, what they booted, whose they are; and machines that wait to be let in. */

/** Challenges of one token that are open at once. */
const mostChallenges = 5

/** @returns false when the token has too many open ones */
export async function insertTpmChallenge(db: Db, row: TpmChallengeRow, now: Date): Promise<boolean> {
  await db.deleteFrom('tpm_challenges').where('expires_at', '<=', now).execute()
  return db.transaction().execute(async (tx) => {
    // Whoever comes at the same time counts after this one is there.
    await tx
      .selectFrom('enrolment_tokens')
      .select('kind')
      .where('secret_hash', '=', row.token_hash)
      .forNoKeyUpdate()
      .execute()
    const { open } = await tx
      .selectFrom('tpm_challenges')
      .select((eb) => eb.fn.countAll<string>().as('open'))
      .where('token_hash', '=', row.token_hash)
      .executeTakeFirstOrThrow()
    if (Number(open) >= mostChallenges) return false
    await tx.insertInto('tpm_challenges').values(row).execute()
    return true
  })
}

/** Uses the challenge up, whether its answer is right or not: of any number of callers exactly one gets it. */
export async function useTpmChallenge(
  db: Db,
  id: string,
  tokenHash: Buffer,
  now: Date,
): Promise<TpmChallengeRow | undefined> {
  return db
    .deleteFrom('tpm_challenges')
    .where('id', '=', id)
    .where('token_hash', '=', tokenHash)
    .where('expires_at', '>', now)
    .returningAll()
    .executeTakeFirst()
}

/** @returns false when it is no longer as `before` says: somebody else has changed it */
export async function replaceBoot(
  db: Db,
  endpointId: string,
  before: BootRecord | null,
  after: BootRecord,
): Promise<boolean> {
  const was = before === null ? sql`null` : sql`${JSON.stringify(before)}::jsonb`
  const row = await db
    .updateTable('agents')
    .set({ boot: JSON.stringify(after) })
    .where('id', '=', endpointId)
    .where(sql<boolean>`boot is not distinct from ${was}`)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** @param onlyFirst leaves an owner that there is @returns whether it was set */
export async function setOwner(
  db: Db,
  endpointId: string,
  personId: string | null,
  onlyFirst: boolean,
): Promise<boolean> {
  const row = await db
    .updateTable('agents')
    .set({ owner_id: personId })
    .where('id', '=', endpointId)
    .where('kind', '=', 'endpoint')
    .$if(onlyFirst, (query) => query.where('owner_id', 'is', null))
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** How many machines wait: in all, and from one source. */
export async function countEnrolmentRequests(
  db: Queries,
  source: string,
): Promise<{ readonly inAll: number; readonly fromSource: number }> {
  const { all, own } = await db
    .selectFrom('enrolment_requests')
    .select((eb) => [
      eb.fn.countAll<string>().as('all'),
      eb.fn.countAll<string>().filterWhere('source', '=', source).as('own'),
    ])
    .where('state', '=', 'waiting')
    .executeTakeFirstOrThrow()
  return { inAll: Number(all), fromSource: Number(own) }
}

/**
 * @param most how many may wait at once
 * @returns 'full' when there are as many, 'exists' when this secret or code waits already: then this one is none
 */
export async function insertEnrolmentRequest(
  db: Db,
  row: EnrolmentRequestRow,
  most: { readonly inAll: number; readonly fromSource: number },
): Promise<'stored' | 'full' | 'exists'> {
  return db.transaction().execute(async (tx) => {
    // Whoever comes at the same time counts after this one is there.
    await sql`select pg_advisory_xact_lock(hashtextextended('enrolment requests', 0))`.execute(tx)
    const { inAll, fromSource } = await countEnrolmentRequests(tx, row.source)
    if (inAll >= most.inAll || fromSource >= most.fromSource) return 'full'
    const stored = await tx
      .insertInto('enrolment_requests')
      .values(row)
      .onConflict((conflict) => conflict.doNothing())
      .returning('id')
      .executeTakeFirst()
    return stored === undefined ? 'exists' : 'stored'
  })
}

export async function deleteOldEnrolmentRequests(db: Db, now: Date): Promise<void> {
  await db.deleteFrom('enrolment_requests').where('expires_at', '<=', now).execute()
}

export async function waitingEnrolmentRequests(db: Db, now: Date): Promise<readonly EnrolmentRequestRow[]> {
  return db
    .selectFrom('enrolment_requests')
    .selectAll()
    .where('state', '=', 'waiting')
    .where('expires_at', '>', now)
    .orderBy('requested_at')
    .execute()
}

export async function enrolmentRequest(
  db: Db,
  by: { readonly id: string } | { readonly secretHash: Buffer },
  now: Date,
): Promise<EnrolmentRequestRow | undefined> {
  return db
    .selectFrom('enrolment_requests')
    .selectAll()
    .$if('id' in by, (query) => query.where('id', '=', 'id' in by ? by.id : ''))
    .$if('secretHash' in by, (query) =>
      query.where('secret_hash', '=', 'secretHash' in by ? by.secretHash : Buffer.alloc(0)),
    )
    .where('expires_at', '>', now)
    .executeTakeFirst()
}

/** @returns whether it still waited: of two answers one counts */
export async function answerEnrolmentRequest(
  db: Db,
  id: string,
  state: 'approved' | 'refused',
): Promise<boolean> {
  const row = await db
    .updateTable('enrolment_requests')
    .set({ state })
    .where('id', '=', id)
    .where('state', '=', 'waiting')
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}
