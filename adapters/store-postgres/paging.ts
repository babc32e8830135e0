import { type RawBuilder, sql } from 'kysely'

/** A part of a long list: as many as `limit` of those that `search` finds, from behind the one with the id `after` on. */
export interface Page {
  readonly limit: number
  readonly after?: string | undefined
  readonly search?: string | undefined
}

/** True for rows of which the columns together hold what is searched for, in any case; for all when nothing is. */
export function isFound(
  { search = '' }: Pick<Page, 'search'>,
  columns: readonly string[],
): RawBuilder<boolean> {
  if (search.trim() === '') return sql`true`
  const text = sql`concat_ws(' ', ${sql.join(columns.map((column) => sql.ref(column)))})`
  return sql`position(lower(${search.trim()}) in lower(${text})) > 0`
}

/** True for rows behind the one that was named, in the order of the columns; for all when none was. */
export function isBehind(
  { after }: Pick<Page, 'after'>,
  table: string,
  alias: string,
  columns: readonly string[],
): RawBuilder<boolean> {
  if (after === undefined) return sql`true`
  const own = sql.join(columns.map((column) => sql.ref(`${alias}.${column}`)))
  const known = sql.join(
    columns.map((column) => sql`(select ${sql.ref(column)} from ${sql.table(table)} where id = ${after})`),
  )
  return sql`(${own}) > (${known})`
}
