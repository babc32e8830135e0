import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { releasesView } from '#core/api/releases.ts'
import { type PublishedForTest, signForTest } from './published-release.rig.ts'
import { type ReleasedSite, startReleasedSite } from './released-site.rig.ts'
import type { SignedInClient } from './running-site.rig.ts'
import type { SiteDatabase } from './site-database.rig.ts'

/** What is retired is gone for good, and never from under those who are given it. */

let at: ReleasedSite
let database: SiteDatabase
let ada: SignedInClient
let office: PublishedForTest
beforeAll(async () => {
  at = await startReleasedSite(['2', '3', '4'])
  ;({ database, ada, office } = at)
})
afterAll(() => at[Symbol.asyncDispose]())

const any = z.unknown()
const post = (path: string, body: unknown) => ada.send('POST', `/releases/${path}`, body, any)
const retire = (version: string) => post('images/office/retirements', { version })
const publish = () => post('publications', { roles: ['office'] })
const promote = (version: string, wave?: object, channel = 'production') =>
  ada.send('PUT', `/releases/images/office/channels/${channel}`, { version, wave }, any)
const withdraw = () => ada.send('DELETE', '/releases/proposals/office', undefined, any)
const inUse = { code: 'CONFLICT', message: expect.stringContaining('the channel production gives endpoints') }

test('what a channel gives endpoints is not retired, nor what its wave began from', async () => {
  await expect(retire('1')).rejects.toMatchObject(inUse)
  await promote('3', { groups: [], endpoints: [], percent: 0 })
  await expect(retire('1')).rejects.toMatchObject(inUse)
  await expect(retire('3')).rejects.toMatchObject(inUse)
})

test('a retirement that was signed is not published once a channel needs the release', async () => {
  await retire('2')
  await signForTest(ada, office.signer, 'office')
  await database.rows(`update channels set current_version = '2' where channel = 'production'`)
  await expect(publish()).rejects.toMatchObject(inUse)
  await database.rows(`update channels set current_version = '1' where channel = 'production'`)
  await publish()
})

test('a version that is retired is not released again, and nobody is invited to', async () => {
  const gone = { code: 'RELEASE_EXISTS', message: expect.stringContaining('office:2 was release 2') }
  await expect(post('images/office/releases', { version: '2' })).rejects.toMatchObject(gone)
  await expect(post('images/office/rollbacks', { to: '1', as: '2' })).rejects.toMatchObject(gone)
  await expect(withdraw()).rejects.toMatchObject({ code: 'NOT_FOUND' })
  const { unreleased } = await ada.get('/releases', releasesView)
  expect(unreleased).toEqual([])
})

test('a channel does not go back behind a release that was retired', async () => {
  await promote('4')
  await database.rows(`update releases set retired_at = now() where version = '4'`)
  await expect(promote('3')).rejects.toMatchObject({
    code: 'RELEASE_ROLLBACK',
    message: expect.stringContaining('the channel has come to release 4'),
  })
})
