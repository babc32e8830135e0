import { cp, mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { acceptedRelease } from '#apps/endpoint/deliver-disk.ts'
import { launchDisk } from '#apps/endpoint/launch-disk.ts'
import { releaseMetadata } from '#apps/site-client/release-metadata.ts'
import { sessionView } from '#core/api/person.ts'
import { diskOf, type EnrolledEndpoint, enrolEndpoint } from '../enrolled-endpoint.rig.ts'
import {
  diskWorkspace,
  type PublishedForTest,
  publishForTest,
  publishNextForTest,
} from '../published-release.rig.ts'
import { type RunningSite, type SignedInClient, startSite, until } from '../running-site.rig.ts'
import { openDatabase } from '../site-database.rig.ts'

/** I4: who has accepted a release is given none from before it, also when its own memory of that was put back. */

let site: RunningSite
let ada: SignedInClient
let nora: SignedInClient
let laptop: EnrolledEndpoint
let office: PublishedForTest
let undo: AsyncDisposableStack

beforeAll(async () => {
  undo = new AsyncDisposableStack()
  site = undo.use(await startSite({ args: ['--hosts', '1', '--gateways', '1'] }))
  ada = await site.signIn('ada')
  nora = await site.signIn('nora')
  office = await publishForTest(ada, 'office')
  await publishNextForTest(ada, office, '2')
  laptop = undo.use(await enrolEndpoint(site, ada, 'laptop'))
})
afterAll(() => undo.disposeAsync())

test('an endpoint whose folder was put back is directed to nothing older than what it was given', async () => {
  await channelIs('production')
  expect(await opened(laptop)).toMatchObject({ version: '1', counter: 1 })
  const snapshot = `${laptop.dir}-before`
  await cp(laptop.dir, snapshot, { recursive: true })
  undo.defer(() => rm(snapshot, { recursive: true }))
  await channelIs('test')
  expect(await opened(laptop)).toMatchObject({ version: '2', counter: 2 })
  expect(await readdir(join(laptop.dir, 'floors'))).toEqual(['office@2'])

  await rm(laptop.dir, { recursive: true })
  await cp(snapshot, laptop.dir, { recursive: true })
  expect(await readdir(join(laptop.dir, 'floors'))).toEqual(['office@1'])
  await channelIs('production')
  expect(await opened(laptop)).toMatchObject({ version: '2', counter: 2 })
  // Of whom the site knows nothing newer is given what the channel has.
  await using other = await enrolEndpoint(site, ada, 'other')
  expect(await opened(other)).toMatchObject({ version: '1', counter: 1 })
})

test('a machine that was enrolled again is directed to nothing that it would refuse, and to nothing beyond its channel', async () => {
  await channelIs('production')
  await using first = await enrolEndpoint(site, ada, 'first')
  const wave = { groups: [], endpoints: [first.agent.id], percent: 0 }
  await ada.send('PUT', '/releases/images/office/channels/production', { version: '2', wave }, z.unknown())
  expect(await opened(first)).toMatchObject({ version: '2', counter: 2 })

  await using again = await enrolEndpoint(site, ada, 'again')
  await cp(join(first.dir, 'floors'), join(again.dir, 'floors'), { recursive: true })
  expect(await opened(again)).toMatchObject({ version: '2', counter: 2 })
  // It has accepted what no channel has: what the channel has is refused there, and nothing else is found for it.
  await using ahead = await enrolEndpoint(site, ada, 'ahead')
  await mkdir(join(ahead.dir, 'floors'))
  await writeFile(join(ahead.dir, 'floors/office@9'), '')
  await expect(opened(ahead)).rejects.toMatchObject({
    code: 'RELEASE_ROLLBACK',
    message: expect.stringContaining('office:1 is release 1'),
    remedy: expect.stringContaining('come to release 9'),
  })
})

test('what an endpoint was given last is its floor also once that is retired: it is told so before a launch, and given the next of its channel', async () => {
  await channelIs('production')
  await using database = await openDatabase(site)
  await database.rows(`update releases set retired_at = now() where version = '2'`)
  await database.rows(`update channels set next_version = null, wave = null where channel = 'production'`)
  await expect(opened(laptop)).rejects.toMatchObject({
    code: 'LAUNCH_REFUSED',
    message: expect.stringContaining(
      'has accepted release 2 of office, and production has come to release 1',
    ),
  })
  await using other = await enrolEndpoint(site, ada, 'unknown')
  expect(await opened(other)).toMatchObject({ version: '1' })
  await publishNextForTest(ada, office, '3')
  const wave = { groups: [], endpoints: [], percent: 0 }
  await ada.send('PUT', '/releases/images/office/channels/production', { version: '3', wave }, z.unknown())
  expect(await opened(laptop)).toMatchObject({ version: '3' })
})

async function channelIs(channel: 'test' | 'production'): Promise<void> {
  const lab = diskWorkspace('office', {
    modes: ['streamed-disk'],
    disk: { image: 'office', channel, application: 'lab' },
  })
  await ada.send('PUT', '/admin/workspaces/lab', lab, z.unknown())
}

/** Launches, accepts what the site directs to as a delivery does, and lets go of it. @returns the release */
async function opened(endpoint: EnrolledEndpoint) {
  const made = await endpoint.launch(nora, 'lab')
  const found = Promise.withResolvers<Awaited<ReturnType<typeof acceptedRelease>>>()
  const delivery = diskOf(made)
  const end = launchDisk(endpoint.agent, { ...made, delivery }, async ({ direction, signal }) => {
    const { dir } = endpoint
    found.resolve(await acceptedRelease({ dir, fetch: releaseMetadata(site.address) }, direction, signal))
    return {
      run: async () => undefined,
      stats: () => ({ bytesFetched: 0, bytesLocal: 0, percentLocal: 0, cacheHits: 0, bytesWritten: 0 }),
      [Symbol.asyncDispose]: async () => undefined,
    }
  })
  end.catch(found.reject)
  const release = await found.promise
  expect(await end).toMatchObject({ code: 'LEASE_ENDED' })
  const { id } = delivery.session
  const isOver = async (): Promise<boolean> =>
    (await nora.get(`/sessions/${id}`, sessionView)).state === 'ended'
  await until(isOver, 'it has ended')
  return release
}
