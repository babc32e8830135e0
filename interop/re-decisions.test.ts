import type { KyselyPlugin } from 'kysely'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { noteBrowserEndpoint, sessionById, updatePerson } from '#adapters/store-postgres/index.ts'
import { addEndpoint } from '#adapters/store-postgres/store-under-test.rig.ts'
import { noteInterception } from '#apps/site/evidence/evidence.ts'
import { decideAgain } from '#apps/site/launches/decide-again.ts'
import { watchSessions } from '#apps/site/launches/live-sessions.ts'
import { activatePolicy } from '#apps/site/people/administering.ts'
import type { Site } from '#apps/site/site.ts'
import { addHost, addSession, openNodes, type SiteNodes } from './site-nodes.rig.ts'

/** What it costs to look at everything that runs, and that nothing is overlooked by it. */

const many = 60
const system = { type: 'system', id: 'test' } as const
const policy = `
@id("all") permit (principal, action, resource);
@id("out") @reason("Out") forbid (principal in Group::"out", action, resource);
@id("opened") @reason("Opened") forbid (principal, action, resource)
when { context.network.interception.value == "detected" };`

let nodes: SiteNodes
let site: Site
let queries = 0
let sessions: readonly string[]

beforeAll(async () => {
  nodes = await openNodes()
  const counting: KyselyPlugin = {
    transformQuery: ({ node }) => {
      queries += 1
      return node
    },
    transformResult: async ({ result }) => result,
  }
  const { store } = nodes.one
  site = { ...nodes.one, store: { ...store, db: store.db.withPlugin(counting) } }
  const hostId = await addHost(site)
  await activatePolicy(site, policy, '', system)
  const made: string[] = []
  while (made.length < many) made.push(await addSession(site, hostId))
  sessions = made
}, 180_000)
afterAll(() => nodes[Symbol.asyncDispose]())

test('what is decided as it is costs less than a query a session', async () => {
  await decideAgain(site, 'sweep')
  await work()
  for (const id of sessions) expect((await sessionById(site.store.db, id))?.rights).toContain('input')
  await decideAgain(site, 'sweep')
  queries = 0
  await work()
  expect(queries).toBeGreaterThan(0)
  expect(queries).toBeLessThan(many)
  expect(await nodes.entries('session-changed')).toHaveLength(many)
}, 180_000)

test('whoever has lost trust is found among all the others, by person, endpoint and the way of a browser', async () => {
  const { db } = site.store
  const [out, at, beside, revoked, ...others] = sessions
  const { person_id } = (await sessionById(db, out!))!
  await updatePerson(db, person_id, { groups: ['out'] })
  const endpoint = await addEndpoint(site.store.db)
  await db.updateTable('sessions').set({ from_endpoint_id: endpoint }).where('id', '=', at!).execute()
  const { web_session_id } = (await sessionById(db, beside!))!
  await noteBrowserEndpoint(db, web_session_id!, endpoint, new Date())
  await noteInterception(site, endpoint, 'detected')
  // Nobody vouches for a machine that was let go: what it has shown says nothing of whoever is at it.
  const gone = await addEndpoint(site.store.db)
  await noteInterception(site, gone, 'detected')
  await db.updateTable('agents').set({ revoked_at: new Date() }).where('id', '=', gone).execute()
  await db.updateTable('sessions').set({ from_endpoint_id: gone }).where('id', '=', revoked!).execute()
  await decideAgain(site, 'sweep')
  await work()
  const stateOf = async (id: string) => (await sessionById(db, id))?.state
  expect(await Promise.all([out!, at!, beside!].map(stateOf))).toEqual(['ending', 'ending', 'ending'])
  expect(new Set(await Promise.all([revoked!, ...others].map(stateOf)))).toEqual(new Set(['ready']))
}, 180_000)

/** Until nothing is left to decide again. */
async function work(): Promise<void> {
  const stopped = new AbortController()
  const watching = watchSessions(site, stopped.signal)
  // By another node: its questions are not counted.
  const { db } = nodes.two.store
  await expect
    .poll(() => db.selectFrom('redecisions').selectAll().execute(), { timeout: 120_000 })
    .toEqual([])
  stopped.abort()
  await watching
}
