import { sql, type Transaction } from 'kysely'
import { isBehind, isFound, type Page } from './paging.ts'
import type { Database, PersonRow } from './schema.ts'
import type { Db } from './store.ts'

type Queries = Db | Transaction<Database>

export async function personByLogin(db: Queries, login: string): Promise<PersonRow | undefined> {
  return people(db).selectAll().where('login', '=', login).executeTakeFirst()
}

export async function personById(db: Queries, id: string): Promise<PersonRow | undefined> {
  return people(db).selectAll().where('id', '=', id).executeTakeFirst()
}

export async function peopleByIds(db: Queries, ids: readonly string[]): Promise<readonly PersonRow[]> {
  return people(db).selectAll().where(sql<boolean>`id = any(${ids}::uuid[])`).execute()
}

/** Who was not deleted. */
function people(db: Queries) {
  return db.selectFrom('people').where('deleted_at', 'is', null)
}

const searched = ['login', 'name']

/** By login; a search looks at login and name. */
export async function listPeople(db: Queries, page: Page): Promise<readonly PersonRow[]> {
  return people(db)
    .selectAll()
    .where(isFound(page, searched))
    .where(isBehind(page, 'people', 'people', ['login']))
    .orderBy('login')
    .limit(page.limit)
    .execute()
}

export async function countPeople(db: Queries, filter: Pick<Page, 'search'>): Promise<number> {
  const { all } = await people(db)
    .select((eb) => eb.fn.countAll<string>().as('all'))
    .where(isFound(filter, searched))
    .executeTakeFirstOrThrow()
  return Number(all)
}

/** Whether there is or was anybody, also if they were deleted. */
export async function hadPeople(db: Queries): Promise<boolean> {
  return (await db.selectFrom('people').select('id').limit(1).executeTakeFirst()) !== undefined
}

/** Groups that people are in, by name. */
export async function groupsInUse(db: Queries): Promise<readonly string[]> {
  const { rows } = await sql<{ name: string }>`
    select distinct g.name from people, unnest(groups) as g(name) order by g.name limit 1000`.execute(db)
  return rows.map(({ name }) => name)
}

/** Undefined when the login is taken; of people who were deleted it is not. */
export async function insertPerson(
  db: Queries,
  person: Pick<PersonRow, 'id' | 'login' | 'name' | 'password' | 'groups' | 'created_at'>,
): Promise<PersonRow | undefined> {
  return db
    .insertInto('people')
    .values(person)
    .onConflict((conflict) => conflict.column('login').where('deleted_at', 'is', null).doNothing())
    .returningAll()
    .executeTakeFirst()
}

export async function updatePerson(
  db: Queries,
  id: string,
  change: Partial<Pick<PersonRow, 'name' | 'groups' | 'disabled' | 'password'>>,
): Promise<PersonRow | undefined> {
  if (Object.keys(change).length === 0) return personById(db, id)
  return db
    .updateTable('people')
    .set(change)
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .returningAll()
    .executeTakeFirst()
}

/** Stores the same password under another hash, unless it was changed meanwhile: then undefined. */
export async function rehashPassword(
  db: Queries,
  id: string,
  from: string | null,
  to: string,
): Promise<PersonRow | undefined> {
  return db
    .updateTable('people')
    .set({ password: to })
    .where('id', '=', id)
    .where('password', 'is not distinct from', from)
    .returningAll()
    .executeTakeFirst()
}

/** True while nobody of `group` could sign in; with `but`: nobody but that person. */
export async function isGroupEmpty(db: Queries, group: string, but?: string): Promise<boolean> {
  let query = db
    .selectFrom('people')
    .select('id')
    .where('disabled', '=', false)
    .where((eb) => eb(eb.val(group), '=', eb.fn.any('groups')))
    .limit(1)
  if (but !== undefined) query = query.where('id', '<>', but)
  return (await query.executeTakeFirst()) === undefined
}

/** Remembers that this person signed in from `source`. */
export async function rememberSource(db: Queries, personId: string, source: string, at: Date): Promise<void> {
  await db
    .insertInto('known_sources')
    .values({ person_id: personId, source, last_at: at })
    .onConflict((conflict) => conflict.columns(['person_id', 'source']).doUpdateSet({ last_at: at }))
    .execute()
}

export async function isKnownSource(db: Queries, personId: string, source: string): Promise<boolean> {
  const row = await db
    .selectFrom('known_sources')
    .select('source')
    .where('person_id', '=', personId)
    .where('source', '=', source)
    .executeTakeFirst()
  return row !== undefined
}
