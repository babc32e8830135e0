import { randomUUID } from 'node:crypto'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { type AuditEntry, encodeEntry } from './leaf.ts'
import { subjectsOf } from './subjects.ts'

const at = '2026-08-01T10:00:00.000Z'
const [nora, lease, session, laptop] = [randomUUID(), randomUUID(), randomUUID(), randomUUID()]
const about = (entry: Omit<AuditEntry, 'at'>) => subjectsOf(encodeEntry({ at, ...entry }))

test('an entry is found by its actor, its subject and the ids in its data', () => {
  const entry = about({
    kind: 'key-released',
    actor: { type: 'person', id: nora },
    subject: lease,
    data: { session, endpoint: laptop, image: 'office' },
  })
  expect(entry).toEqual({ subjects: [nora, lease, laptop, session], session, begins: false })
})

test('a session that begins says what all that follows is about', () => {
  const data = { endpoint: laptop, workspace: 'lab', decision: randomUUID() }
  const entry = about({
    kind: 'session-started',
    actor: { type: 'person', id: nora },
    subject: session,
    data,
  })
  expect(entry).toMatchObject({ session, begins: true })
  expect(entry.subjects).toEqual(expect.arrayContaining([nora, session, laptop, 'workspace:lab']))
})

test('what a workspace became is found by the workspace, and no other word is taken for one', () => {
  const admin = { type: 'admin', id: nora } as const
  const changed = about({ kind: 'admin-change', actor: admin, subject: 'lab', data: { change: 'workspace' } })
  expect(changed.subjects).toEqual([nora, 'workspace:lab'])
  const key = about({ kind: 'admin-change', actor: admin, subject: 'lab', data: { change: 'image key' } })
  expect(key.subjects).toEqual([nora])
})

test('what is no entry is about nothing', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      expect(subjectsOf(bytes)).toEqual({ subjects: [], begins: false })
    }),
  )
})
