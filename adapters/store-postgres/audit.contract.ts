import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { sql } from 'kysely'
import { beforeEach, describe, expect, test } from 'vitest'
import {
  type AuditData,
  type AuditKind,
  createAppender,
  encodeEntry,
  encodeVerifierKey,
  formatTlogProof,
  type LogVerdict,
  openTlogProof,
  parseTilePath,
  parseVerifierKey,
  verifyLog,
} from '#core/audit/index.ts'
import {
  appendAudit,
  catchUpIndex,
  type Db,
  entriesAbout,
  isAway,
  migrate,
  proveEntry,
  readCheckpoint,
  readTile,
  type TimelinePage,
} from './index.ts'
import { filesOf, readEntries, type StoreUnderTest } from './store-under-test.rig.ts'

/** The audit log. */
export function auditContract(store: StoreUnderTest): void {
  describe('the audit log', () => {
    let db: Db
    let other: Db
    const { privateKey } = generateKeyPairSync('ed25519')
    const signer = { name: 'store.example/audit', privateKey }
    const publicKey = encodeVerifierKey(signer.name, privateKey)

    beforeEach(async () => {
      ;({ db, other } = store)
      await migrate(store.server.address)
    })

    function verify(trusted?: string): Promise<LogVerdict> {
      return verifyLog({ read: filesOf(db), publicKey, ...(trusted !== undefined && { trusted }) })
    }

    test('grows without a gap when two nodes append in parallel', async () => {
      const appenders = [db, other].map((node) =>
        createAppender({ commit: (batch) => appendAudit(node, signer, batch), maxBatch: 37 }),
      )
      const append = (from: number, to: number): Promise<bigint[]> =>
        Promise.all(
          Array.from({ length: to - from }, (_, i) =>
            appenders[i % 2]!.append(Buffer.from(`entry ${from + i}`)),
          ),
        )
      const early = await append(0, 300)
      const trusted = (await readCheckpoint(db))!
      const late = await append(300, 800)
      const indexes = [...early, ...late]
      expect(indexes.map(Number).toSorted((a, b) => a - b)).toEqual(Array.from(indexes.keys()))
      expect(await verify(trusted)).toMatchObject({ ok: true, size: 800n })
      expect(await readTile(db, { level: 1, index: 0n, width: 3 })).toHaveLength(96)
      for (const [i, entry] of (await readEntries(db)).entries()) {
        expect(entry).toBe(`entry ${indexes.indexOf(BigInt(i))}`)
      }
    })

    test('gives the same tree whatever the batches', async () => {
      for (const [length, size] of [
        [1, 1],
        [254, 255],
        [1, 256],
        [1, 257],
        [600, 857],
        [167, 1024],
      ] as const) {
        await appendAudit(
          db,
          signer,
          Array.from({ length }, (_, i) => Buffer.from(`${size} ${i}`)),
        )
        expect(await verify()).toMatchObject({ ok: true, size: BigInt(size) })
      }
    })

    test('proves each entry by the latest checkpoint, and none that it has not', async () => {
      const verifier = parseVerifierKey(publicKey)
      const entries = Array.from({ length: 1100 }, (_, i) => Buffer.from(`entry ${i}`))
      await appendAudit(db, signer, entries.slice(0, 700))
      await appendAudit(db, signer, entries.slice(700))
      for (const index of [0, 1, 254, 255, 256, 511, 640, 767, 768, 1023, 1024, 1098, 1099]) {
        const proof = (await proveEntry(db, BigInt(index)))!
        const proven = openTlogProof(Buffer.from(formatTlogProof(proof)), verifier)
        expect(proven).toMatchObject({ index: BigInt(index), entry: entries[index] })
      }
      expect(await proveEntry(db, 1100n)).toBeUndefined()
    })

    test('finds entries by what they are about, also what was appended without an index', async () => {
      const [nora, session, laptop] = [randomUUID(), randomUUID(), randomUUID()]
      const entry = (kind: AuditKind, subject: string, data: AuditData): Buffer => {
        const at = '2026-08-01T10:00:00.000Z'
        return Buffer.from(encodeEntry({ at, kind, actor: { type: 'person', id: nora }, subject, data }))
      }
      await appendAudit(db, signer, [
        entry('session-started', session, { endpoint: laptop, workspace: 'lab' }),
        Buffer.from('no entry'),
        entry('ticket-issued', session, {}),
      ])
      await appendAudit(db, signer, [entry('session-ended', session, { code: 'OVER' })])
      const found = async (subject: string, page: Partial<TimelinePage> = {}): Promise<number[]> =>
        (await entriesAbout(db, [subject], { limit: 10, ...page })).map(({ index }) => Number(index))
      for (const subject of [nora, session, laptop, 'workspace:lab'])
        expect(await found(subject)).toEqual([3, 2, 0])
      expect(await found(laptop, { limit: 1, before: 3n })).toEqual([2])
      expect(await found(randomUUID())).toEqual([])

      await sql`truncate audit_subjects, audit_sessions`.execute(db)
      await sql`update audit_head set indexed = 0`.execute(db)
      await appendAudit(db, signer, [entry('session-ended', session, { code: 'AGAIN' })])
      await Promise.all([db, other].map(catchUpIndex))
      expect(await found('workspace:lab')).toEqual([4, 3, 2, 0])
      await appendAudit(db, signer, [entry('sign-out', nora, {})])
      expect(await found(nora)).toEqual([5, 4, 3, 2, 0])
    })

    test('has no tile beyond its end, however far', async () => {
      expect(await readCheckpoint(db)).toBeUndefined()
      await appendAudit(db, signer, [Buffer.from('one')])
      for (const path of ['tile/0/000.p/2', 'tile/1/000.p/1', 'tile/63/001', 'tile/entries/x999/999']) {
        expect(await readTile(db, parseTilePath(path)!)).toBeUndefined()
      }
      const farthest = parseTilePath(`tile/0/${'x999/'.repeat(9)}999`)!
      expect(await readTile(db, farthest)).toBeUndefined()
    })

    test('keeps all that it acknowledged when the server is killed', async () => {
      const acknowledged = new Map<bigint, string>()
      const stopped = new AbortController()
      const writing = [db, other].map(async (node, n) => {
        for (let i = 0; !stopped.signal.aborted; i++) {
          const entries = Array.from({ length: 1 + (i % 9) }, (_, k) => `${n} ${i} ${k}`)
          try {
            const indexes = await appendAudit(
              node,
              signer,
              entries.map((entry) => Buffer.from(entry)),
            )
            for (const [k, index] of indexes.entries()) acknowledged.set(index, entries[k]!)
          } catch (error) {
            expect(isAway(error)).toBe(true)
            return
          }
        }
      })
      try {
        await expect.poll(() => acknowledged.size, { timeout: 30_000 }).toBeGreaterThan(300)
        await store.server.stop('killed')
      } finally {
        stopped.abort()
      }
      await Promise.all(writing)
      await store.server.start()
      expect(await verify()).toMatchObject({ ok: true })
      const kept = await readEntries(store.open().db)
      for (const [index, entry] of acknowledged) expect(kept[Number(index)]).toBe(entry)
      await appendAudit(db, signer, [Buffer.from('after')])
      expect(await verify()).toMatchObject({ ok: true, size: BigInt(kept.length + 1) })
    })
  })
}
