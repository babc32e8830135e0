import { sql } from 'kysely'
import { type Migration, Migrator } from 'kysely/migration'
import { up as site } from './migrations/0001-site.ts'
import { up as releases } from './migrations/0004-releases.ts'
import { up as endpoints } from './migrations/0005-endpoints.ts'
import { up as evidence } from './migrations/0006-evidence.ts'
import { up as tpm } from './migrations/0007-tpm.ts'
import { up as timeline } from './migrations/0008-timeline.ts'
import { up as handoff } from './migrations/0009-handoff.ts'
import { up as replicas } from './migrations/0010-replicas.ts'
import { up as farewells } from './migrations/0011-farewells.ts'
import { up as pausedMemory } from './migrations/0012-paused-memory.ts'
import { up as authorityAlarm } from './migrations/0013-authority-alarm.ts'
import { up as history } from './migrations/0014-history.ts'
import { up as deletion } from './migrations/0015-deletion.ts'
import { up as overlayScope } from './migrations/0016-overlay-scope.ts'
import { up as discards } from './migrations/0017-discards.ts'
import { up as succession } from './migrations/0018-succession.ts'
import { up as releaseAlarm } from './migrations/0019-release-alarm.ts'
import { openUntimed, type StoreAddress } from './store.ts'
import { isAway, StoreError } from './store-error.ts'

/** In order, by name; a name once released never changes. */
const migrations: Readonly<Record<string, Migration>> = {
  '0001-site': { up: site },
  '0004-releases': { up: releases },
  '0005-endpoints': { up: endpoints },
  '0006-evidence': { up: evidence },
  '0007-tpm': { up: tpm },
  '0008-timeline': { up: timeline },
  '0009-handoff': { up: handoff },
  '0010-replicas': { up: replicas },
  '0011-farewells': { up: farewells },
  '0012-paused-memory': { up: pausedMemory },
  '0013-authority-alarm': { up: authorityAlarm },
  '0014-history': { up: history },
  '0015-deletion': { up: deletion },
  '0016-overlay-scope': { up: overlayScope },
  '0017-discards': { up: discards },
  '0018-succession': { up: succession },
  '0019-release-alarm': { up: releaseAlarm },
}

/**
 * Brings the database to this version's tables, however long that takes. Several nodes may call it at once: one works, the others wait.
 *
 * @throws {StoreError} STORE_AWAY; STORE_URL_MALFORMED, STORE_PLAINTEXT; STORE_REFUSED; STORE_MIGRATION_FAILED, also when a newer version has been here before
 */
export async function migrate(address: StoreAddress): Promise<readonly string[]> {
  const db = openUntimed(address)
  const migrator = new Migrator({ db, provider: { getMigrations: async () => ({ ...migrations }) } })
  try {
    // Whoever may not come in has no tables that are too new.
    await sql`select 1`.execute(db).catch((error: unknown) => {
      throw isAway(error) ? away(error) : refused(error)
    })
    const { error, results } = await migrator.migrateToLatest()
    if (isAway(error)) throw away(error)
    if (error !== undefined) throw failed(error)
    return (results ?? []).map((result) => result.migrationName)
  } finally {
    await db.destroy()
  }
}

function away(cause: unknown): StoreError {
  const remedy = 'Start it, or wait for it.'
  return new StoreError('STORE_AWAY', `the database is away: ${reasonOf(cause)}`, { remedy, cause })
}

function refused(cause: unknown): StoreError {
  const remedy =
    'Correct its address in the configuration (server, user, password, name, TLS), or what the server admits.'
  return new StoreError('STORE_REFUSED', `the database cannot be used: ${reasonOf(cause)}`, { remedy, cause })
}

function failed(cause: unknown): StoreError {
  const message = `the database could not be brought to this version: ${reasonOf(cause)}`
  const remedy = 'If a newer Trustcast has used this database, start that version.'
  return new StoreError('STORE_MIGRATION_FAILED', message, { remedy, cause })
}

/** An error of several addresses that were tried has no message of its own. */
function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') return error.errors.map(reasonOf).join('; ')
  return error instanceof Error ? error.message : String(error)
}
