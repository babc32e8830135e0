import { randomUUID } from 'node:crypto'
import { beforeEach, describe, expect, test } from 'vitest'
import {
  agentById,
  awaitedDiscards,
  beginReplica,
  countPeople,
  type Db,
  deletePerson,
  deleteWorkspace,
  disownDeleted,
  endLease,
  endSession,
  groupsInUse,
  hostedCopies,
  insertPerson,
  insertWebSession,
  isGroupEmpty,
  isKnownSource,
  isWorkspaceDeleted,
  keptCopies,
  leasedCopies,
  listPeople,
  listWorkspaces,
  liveSessions,
  migrate,
  namesOf,
  nextPosition,
  noteDiscardAsked,
  noteKeyReleased,
  peopleNamed,
  personById,
  personByLogin,
  placeOnEndpoint,
  placeSession,
  recordDiscarded,
  recordLeaseStats,
  rememberSource,
  replicasOfDeleted,
  sessionsOfDeleted,
  setOwner,
  unaskedDiscards,
  updatePerson,
  webSessionById,
  workspaceById,
  writeWorkspace,
} from './index.ts'
import {
  addEndpoint,
  addHost,
  addPerson,
  diskOf,
  endOf,
  personOf,
  type StoreUnderTest,
  sessionOf,
  webSessionOf,
  workspace,
} from './store-under-test.rig.ts'

/** People and workspaces that were deleted. */
export function deletionContract(store: StoreUnderTest): void {
  describe('what was deleted', () => {
    const by = randomUUID()
    const deletion = (discards = false) => ({ at: new Date(), by, discards })

    let db: Db
    let other: Db

    beforeEach(async () => {
      ;({ db, other } = store)
      await migrate(store.server.address)
      await writeWorkspace(db, workspace, 0)
    })

    test('a person who was deleted cannot sign in, own or be changed, and who has the login next is somebody else', async () => {
      const ada = { ...personOf('ada'), groups: ['admins'] }
      await insertPerson(db, ada)
      const web = webSessionOf(ada.id)
      expect(await insertWebSession(db, web, null)).toBe(true)
      await rememberSource(db, ada.id, '10.0.0.0/24', new Date())
      const endpointId = await addEndpoint(db)
      await setOwner(db, endpointId, ada.id, false)
      await placeSession(db, { ...sessionOf(ada.id, await addHost(db, 1)), web_session_id: web.id })

      const both = await Promise.all([db, other].map((node) => deletePerson(node, ada.id, deletion())))
      expect(both.filter(Boolean)).toHaveLength(1)
      expect(await personById(db, ada.id)).toBeUndefined()
      expect(await personByLogin(other, 'ada')).toBeUndefined()
      expect(await listPeople(db, { limit: 10 })).toEqual([])
      expect(await countPeople(db, {})).toBe(0)
      expect(await groupsInUse(db)).toEqual([])
      expect(await isGroupEmpty(db, 'admins')).toBe(true)
      expect(await webSessionById(db, web.id)).toBeUndefined()
      expect(await insertWebSession(db, webSessionOf(ada.id), null)).toBe(false)
      expect(await isKnownSource(db, ada.id, '10.0.0.0/24')).toBe(false)
      expect((await agentById(db, endpointId))?.owner_id).toBeNull()
      const again = { disabled: false, groups: ['admins'] }
      expect(await updatePerson(other, ada.id, again)).toBeUndefined()

      const next = await insertPerson(db, personOf('ada'))
      expect(next).toMatchObject({ login: 'ada', groups: [], disabled: false })
      expect(await insertPerson(other, personOf('ada'))).toBeUndefined()
      expect((await personByLogin(db, 'ada'))?.id).toBe(next?.id)
      expect(new Set(await peopleNamed(db, 'ada'))).toEqual(new Set([ada.id, next?.id]))
      expect((await namesOf(db, [ada.id])).get(ada.id)).toBe('ada')
      expect(await liveSessions(db, { personId: next?.id ?? '' })).toEqual([])
    })

    test('what somebody changes at that moment is looked at as it is then, and may stay', async () => {
      const ada = personOf('ada')
      await insertPerson(db, ada)
      const [changed, over] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
      const name = 'Changed'
      const changing = db.transaction().execute(async (tx) => {
        await updatePerson(tx, ada.id, { name })
        const definition = JSON.stringify({ ...workspace, name })
        await tx.updateTable('workspaces').set({ definition }).where('id', '=', 'desk').execute()
        changed.resolve()
        await over.promise
      })
      await changed.promise
      const look = (found: { readonly name: string }): void => {
        if (found.name === name) throw new Error('it was changed')
      }
      const deleting = Promise.allSettled([
        deletePerson(other, ada.id, deletion(), look),
        deleteWorkspace(other, 'desk', deletion(), look),
      ])
      over.resolve()
      await changing
      expect((await deleting).map(({ status }) => status)).toEqual(['rejected', 'rejected'])
      expect([await personById(db, ada.id), await workspaceById(db, 'desk')]).toMatchObject([
        { name },
        { name },
      ])
    })

    test('the identifier of a workspace that was deleted is never used again', async () => {
      expect(await isWorkspaceDeleted(db, 'desk')).toBe(false)
      const both = await Promise.all([db, other].map((node) => deleteWorkspace(node, 'desk', deletion())))
      expect(both.filter(Boolean)).toHaveLength(1)
      expect(await isWorkspaceDeleted(other, 'desk')).toBe(true)
      expect([await workspaceById(db, 'desk'), await listWorkspaces(db)]).toEqual([undefined, []])
      expect(await writeWorkspace(db, { ...workspace, name: 'Another' }, 0)).toBe(false)
      expect(await workspaceById(db, 'desk')).toBeUndefined()
      expect(await nextPosition(db)).toBe(1)
      expect(await writeWorkspace(db, { ...workspace, id: 'desk-2' }, 1)).toBe(true)
    })

    test('what still runs is found by any node until it has ended, and keeps its names', async () => {
      const [mine, theirs] = [await addPerson(db), await addPerson(db)]
      const hostId = await addHost(db, 3)
      const [own, shared] = [sessionOf(mine, hostId, 'desk'), sessionOf(theirs, hostId, 'desk')]
      for (const session of [own, shared]) expect(await placeSession(db, session)).toBe('placed')
      expect(await sessionsOfDeleted(db)).toEqual([])
      await deletePerson(db, mine, deletion())
      expect(await sessionsOfDeleted(other)).toEqual([{ id: own.id, deleted: 'person', deletedBy: by }])
      await deleteWorkspace(db, 'desk', deletion())
      const undone = [
        { id: own.id, deleted: 'person', deletedBy: by },
        { id: shared.id, deleted: 'workspace', deletedBy: by },
      ]
      expect(await sessionsOfDeleted(db)).toEqual(expect.arrayContaining(undone))
      expect(await hostedCopies(db, { personId: mine })).toMatchObject([
        { id: own.id, workspace: { name: 'Desk' }, person_deleted_at: expect.any(Date) as Date },
      ])
      for (const { id } of undone) await endSession(other, id, endOf(), new Date())
      expect(await sessionsOfDeleted(db)).toEqual([])
    })

    test('what was written is kept unless it was to be discarded', async () => {
      const [kept, gone] = [await addPerson(db), await addPerson(db)]
      const made = new Map<string, string>()
      for (const personId of [kept, gone]) {
        const { session, lease } = diskOf(personId, await addEndpoint(db))
        const keeps = { ...lease, overlay: 'replicate' as const }
        const obligations = JSON.stringify({ overlay: 'replicate' })
        expect(await placeOnEndpoint(db, { ...session, obligations }, keeps)).toBe('placed')
        const key = { person_id: personId, scope: '', image: 'office', version: '1' }
        const replica = { ...key, id: randomUUID(), lease_id: lease.id, made_at: new Date() }
        made.set(personId, (await beginReplica(db, replica))?.id ?? '')
      }
      await deletePerson(db, kept, deletion())
      await deletePerson(db, gone, deletion(true))
      const discarded = { id: made.get(gone), deleted: 'person', deletedBy: by }
      expect(await replicasOfDeleted(db)).toEqual([discarded])
      // The lease goes by what its session says: nobody puts it back.
      for (const [personId, overlay] of [
        [kept, 'replicate'],
        [gone, 'discard'],
      ] as const)
        expect(await leasedCopies(db, { personId })).toMatchObject([{ overlay }])
      expect((await liveSessions(db, { personId: gone }))[0]?.obligations.overlay).toBe('discard')
      // A disk is of its person and image, whichever workspace opened it last.
      await deleteWorkspace(db, 'desk', deletion(true))
      expect(await replicasOfDeleted(db)).toEqual([discarded])
      expect((await leasedCopies(db, { personId: kept }))[0]?.overlay).toBe('replicate')
    })

    test('what was left on machines is owed by each, asked for before it is said, and done when the machine says so', async () => {
      const [gone, other2] = [await addPerson(db), await addPerson(db)]
      const [laptop, tablet] = [await addEndpoint(db), await addEndpoint(db)]
      await leave(gone, laptop)
      await leave(gone, laptop, 'vm')
      await leave(gone, tablet)
      await leave(other2, laptop)
      const open = await leave(gone, tablet, 'open')
      await deletePerson(db, gone, deletion(true))
      await deletePerson(db, other2, deletion())
      const owed = { person_id: gone, scope: '', by }
      const byMachine = [laptop, tablet].map((agent_id) => ({ ...owed, agent_id }))
      const unasked = await unaskedDiscards(other)
      expect(unasked).toHaveLength(2)
      for (const one of byMachine) expect(unasked).toContainEqual(expect.objectContaining(one))
      expect(await awaitedDiscards(db, laptop, 10)).toEqual([])
      for (const discard of byMachine) await noteDiscardAsked(db, discard, new Date())
      expect(await unaskedDiscards(db)).toEqual([])
      const onLaptop = { agent_id: laptop, person_id: gone, scope: '' }
      expect(await awaitedDiscards(other, laptop, 10)).toMatchObject([onLaptop])
      // While a lease is open there nothing is said.
      expect(await awaitedDiscards(db, tablet, 10)).toEqual([])
      await end(open)
      expect(await awaitedDiscards(db, tablet, 10)).toHaveLength(1)

      const left = async () =>
        (await keptCopies(db, new Date())).map(({ endpoint_id, person_id, discards }) => [
          endpoint_id,
          person_id === gone,
          discards,
        ])
      expect(await left()).toHaveLength(4)
      await recordDiscarded(db, onLaptop, new Date())
      expect(await awaitedDiscards(db, laptop, 10)).toEqual([])
      expect(await left()).toEqual(
        expect.arrayContaining([
          [tablet, true, true],
          [laptop, false, false],
        ]),
      )
      expect(await left()).toHaveLength(2)

      // What began before it was deleted, and ends after its machine has said so, is owed anew.
      await leave(gone, laptop)
      expect(await unaskedDiscards(db)).toMatchObject([{ ...onLaptop, by }])
    })

    test('a home on a host is owed when its person runs nothing on any host any more', async () => {
      const [gone, kept] = [await addPerson(db), await addPerson(db)]
      const hosts = [await addHost(db, 5), await addHost(db, 5)] as const
      const sessions = hosts.map((host) => sessionOf(gone, host, 'desk'))
      const [past, live] = sessions as [(typeof sessions)[0], (typeof sessions)[0]]
      for (const session of [past, sessionOf(kept, hosts[0])]) {
        expect(await placeSession(db, session)).toBe('placed')
        await endSession(db, session.id, endOf(), new Date())
      }
      expect(await placeSession(db, live)).toBe('placed')
      await deletePerson(db, gone, deletion(true))
      await deletePerson(db, kept, deletion())
      expect(await unaskedDiscards(db)).toEqual([])
      await endSession(other, live.id, endOf(), new Date())
      const owed = hosts.map((agent_id) => ({ agent_id, person_id: gone, scope: '', kind: 'host', by }))
      const unasked = await unaskedDiscards(other)
      expect(unasked).toHaveLength(2)
      for (const one of owed) expect(unasked).toContainEqual(expect.objectContaining(one))
    })

    test('of a workspace what its virtual machines wrote is discarded, and nothing else', async () => {
      const person = await addPerson(db)
      const laptop = await addEndpoint(db)
      await writeWorkspace(db, { ...workspace, id: 'lab' }, 1)
      await leave(person, laptop)
      await leave(person, laptop, 'vm')
      await leave(person, laptop, 'vm', 'lab')
      await deleteWorkspace(db, 'desk', deletion(true))
      const discard = { agent_id: laptop, person_id: person, scope: 'desk' }
      expect(await unaskedDiscards(db)).toMatchObject([{ ...discard, by }])
      await noteDiscardAsked(db, discard, new Date())
      await recordDiscarded(db, discard, new Date())
      const left = (await keptCopies(db, new Date())).map(({ scope }) => scope)
      expect(left.toSorted()).toEqual(['', 'lab'])
    })

    /** A lease that has kept something. */
    async function leave(
      personId: string,
      endpointId: string,
      how: 'disk' | 'vm' | 'open' = 'disk',
      workspaceId = 'desk',
    ): Promise<ReturnType<typeof diskOf>> {
      const disk = diskOf(personId, endpointId)
      const { session, lease } = disk
      const mode = how === 'disk' ? ('streamed-disk' as const) : ('local-vm' as const)
      const place = { mode, workspace_id: workspaceId }
      await placeOnEndpoint(db, { ...session, ...place }, { ...lease, ...place, overlay: 'keep' })
      await noteKeyReleased(db, lease.id, new Date())
      const stats = { bytesFetched: 0, bytesLocal: 0, percentLocal: 0, cacheHits: 0, bytesWritten: 5 }
      await recordLeaseStats(db, lease.id, stats)
      if (how !== 'open') await end(disk)
      return disk
    }

    async function end({ session, lease }: ReturnType<typeof diskOf>): Promise<void> {
      await endSession(db, session.id, endOf(), new Date())
      await endLease(db, lease.id, new Date())
    }

    test('a machine that became somebody’s while they were deleted is nobody’s', async () => {
      const personId = await addPerson(db)
      const endpointId = await addEndpoint(db)
      await deletePerson(db, personId, deletion())
      await setOwner(db, endpointId, personId, true)
      await disownDeleted(other)
      expect((await agentById(db, endpointId))?.owner_id).toBeNull()
    })
  })
}
