import { randomUUID } from 'node:crypto'
import { beforeEach, describe, expect, test } from 'vitest'
import {
  activePolicy,
  type Basis,
  type Db,
  insertPolicy,
  migrate,
  readZones,
  workspaceById,
  writeWorkspace,
  writeZones,
} from './index.ts'
import { atOnce, type StoreUnderTest, workspace } from './store-under-test.rig.ts'

/** Policy, zones and workspaces, which admins replace. */
export function settingsContract(store: StoreUnderTest): void {
  describe('what admins replace', () => {
    let db: Db

    beforeEach(async () => {
      ;({ db } = store)
      await migrate(store.server.address)
    })

    test('is replaced by one of those who saw the same, and by whoever does not say what they saw', async () => {
      const things = [
        {
          read: () => activePolicy(db),
          write: (from: Db, name: string, basis?: Basis<never>) => insertPolicy(from, policyOf(name), basis),
        },
        {
          read: () => readZones(db),
          write: (from: Db, name: string, basis?: Basis<never>) => writeZones(from, zonesOf(name), basis),
        },
        {
          read: () => workspaceById(db, workspace.id),
          write: (from: Db, name: string, basis?: Basis<never>) =>
            writeWorkspace(from, { ...workspace, name }, 0, basis),
        },
      ]
      for (const { read, write } of things) {
        // The first time there is nothing yet.
        for (const round of ['made', 'changed']) {
          const basis = { was: (await read()) as undefined }
          const done = await atOnce(store, (from) => write(from, `${round} ${randomUUID()}`, basis))
          expect(done.filter(Boolean)).toHaveLength(1)
          expect(await write(db, 'late', basis)).toBe(false)
        }
        expect(await write(db, 'whatever is there')).toBe(true)
        expect(JSON.stringify(await read())).toContain('whatever is there')
      }
    })
  })
}

function policyOf(text: string) {
  return { text, digest: text, activated_at: new Date(), activated_by: '' }
}

function zonesOf(name: string) {
  return [{ name, kind: 'inside' as const, networks: ['192.0.2.0/24'] }]
}
