import { randomUUID } from 'node:crypto'
import { beforeEach, describe, expect, test } from 'vitest'
import {
  allReplicaIds,
  beginReplica,
  commitReplica,
  type Db,
  deleteReplica,
  leaseById,
  migrate,
  noteReplicaUse,
  renewLease,
  replicaById,
  replicaCopies,
  replicaOf,
  reserveReplicaRoom,
  tidyReplica,
  writeWorkspace,
} from './index.ts'
import { addDisk, addEndpoint, addPerson, type StoreUnderTest, workspace } from './store-under-test.rig.ts'

/** Copies of what is written on endpoints. */
export function replicasContract(store: StoreUnderTest): void {
  describe('replicas', () => {
    let db: Db
    let other: Db
    let lease: Awaited<ReturnType<typeof addDisk>>['lease']
    const keyOf = () => ({ person_id: lease.person_id, scope: '', image: 'office', version: '1' })
    const begun = async () => {
      const row = { ...keyOf(), id: randomUUID(), lease_id: lease.id, made_at: new Date() }
      return (await beginReplica(db, row))!
    }
    const committed = (sequence: number) => ({
      sequence,
      manifest: 'a'.repeat(64),
      bytes: 10,
      lease_id: lease.id,
      committed_at: new Date(),
    })

    beforeEach(async () => {
      ;({ db, other } = store)
      await migrate(store.server.address)
      await writeWorkspace(db, workspace, 0)
      ;({ lease } = await addDisk(db, await addPerson(db), await addEndpoint(db)))
    })

    test('an overlay has one replica, whoever begins it', async () => {
      expect(await replicaOf(db, keyOf())).toBeUndefined()
      const all = await Promise.all([begun(), begun(), begun()])
      expect(new Set(all.map(({ id }) => id)).size).toBe(1)
      expect(await replicaOf(db, { ...keyOf(), scope: 'desk' })).toBeUndefined()
      expect(await replicaCopies(db, 10)).toEqual([])
      await commitReplica(db, all[0].id, async () => committed(1))
      expect(await replicaCopies(db, 10)).toMatchObject([
        { id: all[0].id, sequence: '1', bytes: '10', endpoint_id: lease.endpoint_id },
      ])
    })

    test('of many who commit at once each sees what the one before has made', async () => {
      const { id } = await begun()
      const seen: string[] = []
      await Promise.all(
        Array.from({ length: 8 }, (_, i) =>
          commitReplica(i % 2 === 0 ? db : other, id, async ({ sequence }) => {
            seen.push(sequence)
            return committed(Number(sequence) + 1)
          }),
        ),
      )
      expect(seen.map(Number).toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
      await expect(
        commitReplica(db, id, async () => {
          throw new Error('refused')
        }),
      ).rejects.toThrow('refused')
      expect((await replicaById(db, id))?.sequence).toBe('8')
    })

    test('room is taken up to a bound, and given back when it is tidied', async () => {
      const { id } = await begun()
      const taken = await Promise.all(
        Array.from({ length: 10 }, (_, i) => reserveReplicaRoom(i % 2 === 0 ? db : other, id, 30, 100)),
      )
      expect(taken.filter(Boolean)).toHaveLength(3)
      await tidyReplica(db, id, async ({ stored }) => Number(stored) - 60)
      expect((await replicaById(db, id))?.stored).toBe('30')
      await expect(deleteReplica(db, id, () => Promise.reject(new Error('died')))).rejects.toThrow('died')
      expect(await deleteReplica(db, id, () => Promise.resolve())).toBe(true)
      expect(await deleteReplica(other, id, () => Promise.resolve())).toBe(false)
      expect(await commitReplica(db, id, async () => committed(1))).toBe(false)
      expect(await allReplicaIds(db)).toEqual([])
    })

    test('a lease that replicates leaves a copy on its endpoint as one that keeps does', async () => {
      await renewLease(db, lease.id, { overlay: 'replicate' }, new Date())
      await noteReplicaUse(db, lease.id, 'replica_kept_at', new Date(7))
      expect(await leaseById(db, lease.id)).toMatchObject({
        overlay: 'replicate',
        replica_kept_at: new Date(7),
        replica_read_at: null,
        paused_at: null,
      })
    })
  })
}
