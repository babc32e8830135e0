import { hash, randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { type AuditEntry, decodeEntry } from '#core/audit/index.ts'
import { makeSigner } from '#core/release/release.fixture.ts'
import { emptyImage, type PublishedForTest, signForTest } from './published-release.rig.ts'
import { type ReleasedSite, startReleasedSite } from './released-site.rig.ts'
import type { SignedInClient } from './running-site.rig.ts'
import type { SiteDatabase } from './site-database.rig.ts'

/** What the log tells of releases: all that was done, so that an auditor knows which, and nothing that was refused. */

let at: ReleasedSite
let database: SiteDatabase
let ada: SignedInClient
let office: PublishedForTest
beforeAll(async () => {
  at = await startReleasedSite(['2'])
  ;({ database, ada, office } = at)
})
afterAll(() => at[Symbol.asyncDispose]())

const any = z.unknown()
const post = (path: string, body: unknown) => ada.send('POST', path, body, any)

test('what was refused is not in the log as if it had been done', async () => {
  const before = await entries()
  const manifest = Buffer.from(emptyImage('office').manifest).toString('base64url')
  const conflict = { code: 'CONFLICT' }
  await expect(
    post('/images', { name: 'office', version: '1', manifest, store: 'none' }),
  ).rejects.toMatchObject(conflict)
  const key = randomBytes(32).toString('base64url')
  await expect(post('/images/office/key', { key })).rejects.toMatchObject(conflict)
  const unknown = ada.send('DELETE', '/releases/proposals/nosuch', undefined, any)
  await expect(unknown).rejects.toMatchObject({ code: 'NOT_FOUND' })
  expect(await entries()).toEqual(before)

  // Other keys for its releases, while something else of them awaits signatures: neither of both is proposed.
  await post('/releases/proposals/office/renewal', undefined)
  const renewed = await entries()
  const other = { keys: [makeSigner('other').publicKey], threshold: 1 }
  await expect(post('/releases/images/office/keys', other)).rejects.toMatchObject(conflict)
  expect(await entries()).toEqual(renewed)
  await ada.send('DELETE', '/releases/proposals/office', undefined, any)
})

test('which release it was, and who may sign now, is in the log with digests', async () => {
  const all = await entries()
  const keyIds = [office.signer.keyId]
  const root = all.find(({ kind, subject }) => kind === 'release-proposed' && subject === 'root')
  expect(root?.data).toMatchObject({
    signers: expect.arrayContaining([{ role: 'root', threshold: 1, keyIds }]),
  })
  const targets = all.find(({ kind, subject }) => kind === 'release-signed' && subject === 'targets')
  expect(targets?.data).toMatchObject({ signers: [{ role: 'office', threshold: 1, keyIds }] })
  const added = [{ version: '1', contentVersion: '1', counter: 1, manifestDigest: office.manifestDigest }]
  const [proposed, signed] = ['release-proposed', 'release-signed'].map(
    (wanted) => all.find(({ kind, subject }) => kind === wanted && subject === 'office')?.data,
  )
  expect(proposed).toMatchObject({ version: 1, added, retired: [], digest: expect.any(String) })
  expect(signed).toMatchObject(proposed as object)
  const published = all.flatMap(({ kind, data }) =>
    kind === 'release-published'
      ? (data as { published: { role: string; version: number }[] }).published
      : [],
  )
  const [row] = await database.rows(
    `select bytes from release_metadata where role = 'office' and version = 1`,
  )
  const file = hash('sha256', row!['bytes'] as Buffer)
  expect(published.find(({ role }) => role === 'office')).toEqual({ ...(proposed as object), file })
})

test('a retirement is in the log as such', async () => {
  await ada.send('PUT', '/releases/images/office/channels/production', { version: '2' }, any)
  await post('/releases/images/office/retirements', { version: '1' })
  await signForTest(ada, office.signer, 'office')
  await post('/releases/publications', { roles: ['office'] })
  const retired = [expect.objectContaining({ version: '1', counter: 1 })]
  expect((await entries()).at(-1)?.data).toMatchObject({
    published: expect.arrayContaining([expect.objectContaining({ role: 'office', added: [], retired })]),
  })
})

async function entries(): Promise<readonly AuditEntry[]> {
  const rows = await database.rows('select entry from audit_entries order by index')
  return rows.map(({ entry }) => decodeEntry(entry as Buffer))
}
