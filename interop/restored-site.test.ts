import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { openReleases } from '#adapters/releases-tuf/index.ts'
import { verifiedView } from '#apps/cli/commands/image/verified-view.ts'
import { readEndpointCredentials } from '#apps/endpoint/endpoint-agent.ts'
import { callJson } from '#apps/site-client/call.ts'
import { releaseMetadata } from '#apps/site-client/release-metadata.ts'
import { listReleases, verifyMetadata } from '#core/release/index.ts'
import { enrolEndpoint } from './enrolled-endpoint.rig.ts'
import { publishForTest, publishNextForTest, signForTest } from './published-release.rig.ts'
import { startSite, until } from './running-site.rig.ts'
import { openDatabase, type SiteDatabase } from './site-database.rig.ts'

/** Each after those that it refers to. */
const tables = ['release_metadata', 'release_proposals', 'images', 'releases', 'channels']

test('a database that was restored from a backup is refused, until people have signed new keys of the site', async () => {
  await using site = await startSite()
  await using database = await openDatabase(site)
  const ada = await site.signIn('ada')
  const office = await publishForTest(ada, 'office')
  await using laptop = await enrolEndpoint(site, ada, 'laptop')
  await backUp(database)
  for (const version of ['2', '3']) await publishNextForTest(ada, office, version)

  const fetch = releaseMetadata(site.address)
  const signer = () => verifiedView({ dir: join(site.state, 'signer'), fetch }, 'office')
  await (await signer()).pin()
  const rootBytes = (await fetch('1.root.json', 100_000, undefined))!
  const endpoint = await openReleases({ dir: join(site.state, 'endpoint'), rootBytes, fetch })
  await endpoint.refresh()
  expect(await endpoint.list('office')).toHaveLength(3)

  await restore(database)
  await database.rows('delete from endpoint_keys')
  const keysOfLaptop = async () => (await database.rows('select from endpoint_keys')).length
  const remedy = expect.stringContaining('docs/disks.md')
  await expect(signer()).rejects.toMatchObject({ code: 'RELEASE_ROLLBACK', remedy })
  await expect(endpoint.refresh()).rejects.toMatchObject({ code: 'RELEASE_ROLLBACK', remedy })

  for (const name of ['snapshot', 'timestamp']) {
    const file = join(site.state, 'keys', `${name}.key`)
    await promisify(execFile)('openssl', ['genpkey', '-algorithm', 'ed25519', '-out', file])
  }
  const [before] = await site.pidsOf('site')
  process.kill(before!, 'SIGTERM')
  const root = { keys: [office.signer.publicKey], threshold: 1 }
  await until(
    () =>
      ada.send('POST', '/releases/root', { root }, z.unknown()).then(
        () => true,
        () => false,
      ),
    'the site works with its new keys',
    90_000,
  )
  await signForTest(ada, office.signer, 'root')
  await ada.send('POST', '/releases/publications', { roles: ['root'] }, z.unknown())

  // It has renewed its certificate since the backup.
  await until(
    async () => (await keysOfLaptop()) === 1,
    'the site knows the key of a device that it has forgotten',
  )
  const atLaptop = { ...ada.credentials, endpoint: await readEndpointCredentials(laptop.dir) }
  await callJson(site.address, { method: 'GET', path: '/api/v1/endpoint/claims' }, z.unknown(), atLaptop)

  const keys = { role: 'office', threshold: 1, keys: root.keys }
  const { published } = await signer()
  expect(listReleases(verifyMetadata('family', published!, keys), 'office')).toHaveLength(1)
  await endpoint.refresh()
  expect(await endpoint.list('office')).toMatchObject([{ version: '1', counter: 1 }])
  // Released again: as many as there were, and endpoints that remember the last of them go on.
  for (const version of ['2', '3']) await publishNextForTest(ada, office, version)
  expect((await signer()).published).toBeDefined()
  await endpoint.refresh()
  expect(await endpoint.release('office', '3')).toMatchObject({ counter: 3 })
}, 240_000)

async function backUp(database: SiteDatabase): Promise<void> {
  for (const table of tables) await database.rows(`create table saved_${table} as table ${table}`)
}

async function restore(database: SiteDatabase): Promise<void> {
  for (const table of tables.toReversed()) await database.rows(`delete from ${table}`)
  for (const table of tables) await database.rows(`insert into ${table} table saved_${table}`)
}
