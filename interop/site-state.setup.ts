import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { startPostgres } from '#adapters/postgres-embedded/index.ts'

/** A database that was set up once, for the sites of all tests to begin with: see `startSite`. */
export default async function setup(): Promise<() => Promise<void>> {
  const stateDir = await mkdtemp('/var/tmp/tc-first-')
  // The database's account passes through.
  await chmod(stateDir, 0o711)
  const log = { info: () => {}, warn: () => {} }
  const server = await startPostgres({ stateDir, log })
  await server.stop()
  await server.ended
  process.env['TRUSTCAST_TEST_STATE'] = stateDir
  return () => rm(stateDir, { recursive: true, force: true })
}
