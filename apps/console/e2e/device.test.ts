import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { readDisks } from '#apps/endpoint/disk/attached.ts'
import { personView } from '#core/api/admin.ts'
import { devicePort } from '#core/handoff/index.ts'
import { account, type RunningService, startService } from '../../../interop/endpoint-service.rig.ts'
import { diskWorkspace, publishForTest } from '../../../interop/published-release.rig.ts'
import {
  pidsMatching,
  type RunningSite,
  type SignedInClient,
  startSite,
  until,
} from '../../../interop/running-site.rig.ts'
import { makeSmallDisk } from '../../../interop/small-disk.rig.ts'
import { size } from '../src/words.ts'
import { sees, signInAt, startVisitors, type Visitors } from './browser.rig.ts'
import { untilLive } from './screen.rig.ts'

/** A person at an enrolled device: from the portal to a disk that streams there, into the data centre when it is taken back, and back. */
vi.setConfig({ testTimeout: 120_000, hookTimeout: 240_000 })

const run = promisify(execFile)
const trustcast = join(import.meta.dirname, '../../../trustcast')
let site: RunningSite
let ada: SignedInClient
let visitors: Visitors
let service: RunningService
let page: Page
let undo: AsyncDisposableStack

beforeAll(async () => {
  undo = new AsyncDisposableStack()
  const disk = undo.use(await makeSmallDisk('lab', { lab: '/bin/sleep 86321' }, 8 * 1024 * 1024))
  site = undo.use(await startSite({ args: ['--hosts', '1', '--gateways', '1'] }))
  ada = await site.signIn('ada')
  await publishForTest(ada, 'lab', disk)
  const workspace = diskWorkspace('lab', { description: 'Measurements of today', icon: 'chart' })
  await ada.send('PUT', '/admin/workspaces/lab', workspace, z.unknown())
  // Where portals look for it.
  const args = ['--port', String(devicePort), '--as', account, '--no-report']
  service = undo.use(await startService(site, ada, 'desk-3', { args }))
  visitors = undo.use(await startVisitors(site))
  page = await visitors.visit()
})
afterAll(() => undo.disposeAsync())

const tile = () => page.getByRole('article', { name: 'Laboratory' })

test('on an enrolled device the portal offers what the device can have, and one click opens it there', async () => {
  await signInAt(page, 'nora')
  await tile().getByRole('button', { name: 'Open on this device' }).click()
  await sees(tile(), 'Open on this device')
  await sees(tile(), /% of it is here, .* fetched · without the site for \d+ min more/)
  await until(async () => (await pidsMatching('/bin/sleep 86321')).length > 0, 'the application runs')
  await sees(page.getByRole('region', { name: 'Running now' }), 'on desk-3')
})

test('the portal says of this device what its command line says', async () => {
  await page.locator('.device summary').click()
  const panel = page.locator('.device')
  await sees(panel, service.id)
  await sees(panel, /^Laboratory \(streamed disk\): .* of it here, .* fetched, lease for \d+ min more$/)
  await sees(panel, 'desk-3 · connected')
  await page.locator('.device summary').click()
})

test('an admin sees at Images what streams to the device, live and as the device itself counts it', async () => {
  const admin = await visitors.visit()
  await signInAt(admin, 'ada')
  await admin.goto('/admin/images')
  const row = admin.getByRole('row', { name: /desk-3/ })
  const showsSince = async (fetchedBefore: number): Promise<boolean> => {
    const { stats } = (await service.status()).launches[0]!
    const { bytesFetched, bytesLocal, cacheHits, percentLocal } = stats
    const text = await row.innerText()
    const local = [
      size(bytesLocal),
      `${cacheHits.toLocaleString('en')} hits`,
      `${Math.round(percentLocal)} %`,
    ]
    return bytesFetched > fetchedBefore && [size(bytesFetched), ...local].every((part) => text.includes(part))
  }
  await until(() => showsSince(0), 'the page shows what was fetched to start the application')
  const { bytesFetched } = (await service.status()).launches[0]!.stats
  const [disk] = await readDisks(service.env['TRUSTCAST_RUN'] ?? '')
  await run('nbdcopy', [`nbd+unix:///?socket=${disk?.socket}`, 'null:'])
  await until(() => showsSince(bytesFetched), 'the page shows what was read since')
  await sees(row, '100 %')
  await admin.context().close()
})

test('when it is taken back the portal says why, and one click goes on in the data centre', async () => {
  await setGroups('nora', ['contractors'])
  const notice = page.getByRole('list', { name: 'Taken back' })
  await sees(notice, 'Laboratory was taken back from desk-3.')
  await until(async () => (await pidsMatching('/bin/sleep 86321')).length === 0, 'the application is gone')
  await notice.getByRole('button', { name: 'Go on in the data centre' }).click()
  await untilLive(page)
})

test('when trust is back the portal says so, and the workspace comes back to the device', async () => {
  await setGroups('nora', ['employees'])
  await page.goto('/')
  await sees(tile(), 'Trust is back: it can be open on this device again.')
  await tile().getByRole('button', { name: 'Open on this device again' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Open on this device' }).click()
  await sees(tile(), /% of it is here/)
  await until(async () => (await pidsMatching('/bin/sleep 86321')).length > 0, 'the application runs')
  await page.getByRole('region', { name: 'Running now' }).getByRole('button', { name: 'End' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'End session' }).click()
  await tile().getByRole('button', { name: 'Open on this device', exact: true }).waitFor()
})

test('where nothing answers the page it makes an address, which the desktop opens with the program of the device', async () => {
  const field = diskWorkspace('lab', { id: 'field', name: 'Field', modes: ['streamed-disk'] })
  await ada.send('PUT', '/admin/workspaces/field', field, z.unknown())
  const apart = await visitors.visit()
  await apart.route(`http://127.0.0.1:${devicePort}/**`, async (route) => route.abort())
  await signInAt(apart, 'nora')
  const address = await addressMadeBy(apart, async () =>
    apart
      .getByRole('article', { name: 'Field' })
      .getByRole('button', { name: 'Open on this device' })
      .click(),
  )
  await using desktop = await installedFor(service)
  await run('gio', ['open', address], { env: desktop.env })
  await sees(page.getByRole('region', { name: 'Running now' }), 'on desk-3')
  await until(async () => (await pidsMatching('/bin/sleep 86321')).length > 0, 'the application runs')
  await apart.context().close()
})

test('a page of another site cannot ask this device, in a real browser', async () => {
  const stranger = await visitors.visit()
  await stranger.goto(`https://127.0.0.1:${site.port}/`)
  const asked = await stranger.evaluate(
    async (url) => fetch(url).then(String, (error: unknown) => String(error)),
    `http://127.0.0.1:${devicePort}/status`,
  )
  expect(asked).toContain('Failed to fetch')
  await stranger.context().close()
})

test('no page complained about anything', () => {
  // The stranger was to be refused.
  const expected = `https://127.0.0.1:${site.port}/`
  expect(visitors.complaints.filter((one) => !one.startsWith(expected))).toEqual([])
})

/** What the page has the browser go to that is no page. */
async function addressMadeBy(made: Page, act: () => Promise<void>): Promise<string> {
  const session = await made.context().newCDPSession(made)
  const { promise, resolve } = Promise.withResolvers<string>()
  session.on('Page.frameRequestedNavigation', ({ url }) => {
    if (url.startsWith('trustcast:')) resolve(url)
  })
  await session.send('Page.enable')
  await act()
  return promise
}

/** A desktop that has the program of the device, as `install` leaves it. */
async function installedFor({ env }: RunningService) {
  const root = await mkdtemp(join(tmpdir(), 'tc-desktop-'))
  await run(trustcast, ['endpoint', 'install', '--root', root])
  const share = join(root, 'usr/local/share')
  await run('update-desktop-database', [join(share, 'applications')])
  return {
    env: { ...env, XDG_DATA_DIRS: `${share}:/usr/share` },
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true }),
  }
}

async function setGroups(login: string, groups: readonly string[]): Promise<void> {
  const { people } = await ada.get('/admin/people', z.object({ people: z.array(personView) }))
  const person = people.find((one) => one.login === login)
  await ada.send('PATCH', `/admin/people/${person?.id}`, { groups }, z.unknown())
}
