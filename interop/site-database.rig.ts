import { join } from 'node:path'
import { Client } from 'pg'
import type { RunningSite } from './running-site.rig.ts'

/** A connection to a running site's own database, beside the site. */
export interface SiteDatabase extends AsyncDisposable {
  /** Runs one statement after those before it. @returns its rows */
  rows(sql: string, values?: readonly unknown[]): Promise<readonly Readonly<Record<string, unknown>>[]>
}

export async function openDatabase(site: RunningSite): Promise<SiteDatabase> {
  const host = join(site.state, 'postgres-run')
  const client = new Client({ host, port: 5432, user: 'trustcast', database: 'trustcast' })
  // The server may end before the connection does.
  client.on('error', () => undefined)
  await client.connect()
  let queue: Promise<unknown> = Promise.resolve()
  return {
    rows: (sql, values = []) => {
      const asked = queue.then(() => client.query<Record<string, unknown>>(sql, [...values]))
      queue = asked.catch(() => undefined)
      return asked.then(({ rows }) => rows)
    },
    [Symbol.asyncDispose]: () => client.end(),
  }
}
