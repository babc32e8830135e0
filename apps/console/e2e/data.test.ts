import { readFile } from 'node:fs/promises'
import type { Download, Locator, Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { replicaClient } from '#apps/endpoint/replica/replica-client.ts'
import { type DataCopy, dataAnswer } from '#core/api/data.ts'
import { endpointClaimsAnswer } from '#core/api/evidence.ts'
import { overlayKeyOf } from '#core/artifact/image-key.ts'
import { decodeEntry, openTlogProof, parseVerifierKey } from '#core/audit/index.ts'
import { pieceCount } from '#core/block/capturable.ts'
import { defaultPolicy } from '#core/policy/index.ts'
import { emptyTable, encodeManifest, ReplicaKeys } from '#core/replica/index.ts'
import {
  diskOf,
  type EnrolledEndpoint,
  enrolEndpoint,
  type LeaseInUse,
  leaseInUse,
} from '../../../interop/enrolled-endpoint.rig.ts'
import { launch } from '../../../interop/hosted-person.rig.ts'
import { toldObserver } from '../../../interop/observed-endpoint.rig.ts'
import {
  diskWorkspace,
  type PublishedForTest,
  publishForTest,
} from '../../../interop/published-release.rig.ts'
import { overlayPolicy } from '../../../interop/replicated-disk.rig.ts'
import { type RunningSite, type SignedInClient, startSite, until } from '../../../interop/running-site.rig.ts'
import { sees, signInAt, startVisitors, type Visitors } from './browser.rig.ts'

/** One story: an auditor watches where data is while people open workspaces and an admin takes one back. */

const MiB = 1024 * 1024
let undo: AsyncDisposableStack
let site: RunningSite
let visitors: Visitors
let admin: SignedInClient
let release: PublishedForTest
let laptop: EnrolledEndpoint
let olaf: Page
let ada: Page
/** Nora's disk on it, until it is taken back. */
let held: LeaseInUse

beforeAll(async () => {
  undo = new AsyncDisposableStack()
  site = undo.use(await startSite({ args: ['--hosts', '1', '--gateways', '1'] }))
  visitors = undo.use(await startVisitors(site))
  admin = await site.signIn('ada')
  release = await publishForTest(admin, 'office')
  await admin.send('PUT', '/admin/workspaces/lab', diskWorkspace('office'), z.unknown())
  laptop = undo.use(await enrolEndpoint(site, admin, 'laptop-7'))
  olaf = await visitors.visit()
  ada = await visitors.visit()
  await Promise.all([signInAt(olaf, 'olaf'), signInAt(ada, 'ada')])
})
afterAll(() => undo.disposeAsync())

test('it is the first of an auditor’s pages, and says so when there is nothing anywhere', async () => {
  const links = olaf.getByRole('navigation').getByRole('link')
  await links.first().waitFor()
  expect((await links.allInnerTexts()).slice(0, 2)).toEqual(['My workspaces', 'Data'])
  await links.filter({ hasText: /^Data$/ }).click()
  await olaf.getByRole('heading', { level: 1, name: 'Where is the data?' }).waitFor()
  await sees(olaf.getByRole('main'), 'Nothing runs, and nothing is on any endpoint.')
  await sees(part(olaf, 'Inside'), '0')
})

test('what an endpoint holds and what a host runs appear while the auditor looks', async () => {
  held = await leaseInUse(laptop, await laptop.launch(await site.signIn('nora'), 'lab'))
  const row = rowOf(olaf, 'laptop-7')
  for (const text of ['Laboratory', 'Nora Lind, nora', 'Streamed disk', 'office:1', 'Held'])
    await sees(row, text)
  await sees(row, /^Image under AES-256; its key is in memory only, until /)
  await sees(row, 'What is written is under a key in memory and discarded at the end.')
  await sees(part(olaf, 'Inside'), '1')
  held.stats.bytesWritten = 3 * MiB
  await sees(row, '3 MiB written')

  await launch(await site.signIn('carl'), 'desktop')
  await sees(
    rowOf(olaf, 'host-1'),
    'Stays on host host-1; only its picture leaves it, encrypted from end to end.',
  )
  await sees(olaf.getByRole('main'), '1 copy in the data centre; 1 copy on endpoints.')
  const buttons = await olaf.getByRole('main').getByRole('button').allInnerTexts()
  expect(buttons).not.toContain('Withdraw')
})

test('the picture and words choose what is shown, headings order it, all by the keyboard', async () => {
  await part(olaf, 'Hosts').focus()
  await olaf.keyboard.press('Enter')
  expect(await part(olaf, 'Hosts').getAttribute('aria-pressed')).toBe('true')
  await sees(olaf.getByRole('main'), '1 of 2')
  await rowOf(olaf, 'laptop-7').waitFor({ state: 'detached' })
  await olaf.keyboard.press('Space')
  await rowOf(olaf, 'laptop-7').waitFor()

  const where = olaf.getByRole('columnheader', { name: 'Where' })
  expect(await where.getAttribute('aria-sort')).toBe('ascending')
  expect(await machines(olaf)).toEqual(['laptop-7', 'host-1'])
  await where.getByRole('button').focus()
  await olaf.keyboard.press('Enter')
  expect(await where.getAttribute('aria-sort')).toBe('descending')
  expect(await machines(olaf)).toEqual(['host-1', 'laptop-7'])

  const filter = olaf.getByLabel('Filter by workspace, person or machine')
  await filter.fill('nobody at all')
  await sees(olaf.getByRole('main'), 'No copy of data here fits that.')
  await filter.fill('nora inside')
  await sees(olaf.getByRole('main'), '1 of 2')
  expect(await machines(olaf)).toEqual(['laptop-7'])
})

test('what is shown can be saved for other programs', async () => {
  const [csv, csvName] = await saved(() => olaf.getByRole('button', { name: 'Save as CSV' }).click())
  expect(csvName).toMatch(/^data-.*\.csv$/)
  const lines = String(csv).trimEnd().split('\r\n')
  expect(lines).toHaveLength(2)
  expect(lines[1]).toMatch(/^endpoint,laptop-7,.*,lab,Nora Lind,nora,,streamed-disk,held,office:1,/)
  const [json] = await saved(() => olaf.getByRole('button', { name: 'Save as JSON' }).click())
  const { copies } = JSON.parse(String(json)) as { readonly copies: readonly DataCopy[] }
  expect(copies).toMatchObject([{ machine: { name: 'laptop-7' }, stats: { bytesWritten: 3 * MiB } }])
})

test('what is on other pages is turned to, and saved with the rest', async () => {
  await olaf.getByLabel('Filter by workspace, person or machine').fill('')
  await sees(olaf.getByRole('main'), '2 of 2')
  // As a site answers that has more: its first page ends after what the laptop holds.
  await olaf.route('**/api/v1/data?*', async (route) => {
    const page = new URL(route.request().url()).searchParams.get('after')
    const { copies, ...answer } = await admin.get(`/data${page === null ? '' : `?after=${page}`}`, dataAnswer)
    const [first] = copies
    await route.fulfill({
      json: page === null ? { ...answer, copies: [first], next: `0.${first?.id}` } : { ...answer, copies },
    })
  })
  await sees(olaf.getByRole('main'), '1–1 of 2 of 2, ordered within this page')
  const [csv] = await saved(() => olaf.getByRole('button', { name: 'Save as CSV' }).click())
  const machinesSaved = String(csv)
    .trimEnd()
    .split('\r\n')
    .map((line) => line.split(',')[1])
  expect(machinesSaved).toEqual(['Machine', 'host-1', 'laptop-7'])
  await olaf.getByRole('button', { name: 'Next' }).click()
  await rowOf(olaf, 'host-1').waitFor()
  expect(await machines(olaf)).toEqual(['host-1'])
  await olaf.getByRole('button', { name: 'Previous' }).click()
  await rowOf(olaf, 'laptop-7').waitFor()
  await olaf.unroute('**/api/v1/data?*')
  await sees(olaf.getByRole('main'), '2 of 2')
})

test('a time line tells what happened, and each entry of it comes with its proof', async () => {
  await olaf.getByRole('button', { name: 'Time line of Laboratory of Nora Lind on laptop-7' }).click()
  const dialog = olaf.getByRole('dialog')
  await sees(
    dialog,
    'The key of office:1 went to laptop-7, sealed, for Nora Lind; what is written is discarded.',
  )
  await dialog.getByText('Laboratory', { exact: true }).click()
  await sees(dialog, 'Nora Lind opened lab on laptop-7, streamed disk from office:1.')
  await dialog.getByText('laptop-7', { exact: true }).click()
  await sees(dialog, 'laptop-7 was enrolled as endpoint.')
  const entry = dialog.getByRole('listitem').filter({ hasText: 'The key of office:1' })
  const [proof, name] = await saved(() => entry.getByRole('button', { name: /^Download the proof/ }).click())
  const { key } = await admin.get('/audit/key', z.object({ key: z.string() }))
  const proven = openTlogProof(proof, parseVerifierKey(key))
  expect(name).toBe(`audit-${proven.index}.tlog-proof`)
  expect(decodeEntry(proven.entry)).toMatchObject({ kind: 'key-released', data: { image: 'office' } })
  await olaf.keyboard.press('Escape')
  await dialog.waitFor({ state: 'detached' })
})

test('an admin withdraws it with a reason; the auditor sees it go, and its person reads why', async () => {
  const nora = await visitors.visit()
  await signInAt(nora, 'nora')
  await sees(nora.getByRole('region', { name: 'Running now' }), /on laptop-7/)
  await ada.goto('/admin/data')
  await ada.getByRole('button', { name: 'Withdraw Laboratory of Nora Lind on laptop-7' }).click()
  const dialog = ada.getByRole('dialog')
  await dialog.getByRole('button', { name: 'Withdraw' }).click()
  expect(await dialog.isVisible()).toBe(true)
  await dialog.getByLabel('Reason').fill('It was left in a train')
  await dialog.getByRole('button', { name: 'Withdraw' }).click()
  await dialog.waitFor({ state: 'detached' })
  await rowOf(olaf, 'laptop-7').waitFor({ state: 'detached' })
  await sees(olaf.getByRole('main'), 'All data is in the data centre. No endpoint holds anything.')

  await ada.getByRole('button', { name: 'Time line of Linux desktop of Carl Brandt on host-1' }).click()
  await sees(ada.getByRole('dialog'), /^Carl Brandt opened desktop on host host-1, hosted shared\.$/)
  expect(await held.end).toMatchObject({ notice: { code: 'LEASE_WITHDRAWN_BY_ADMIN' } })
  const notice = nora.getByRole('list', { name: 'Taken back' })
  await sees(notice, 'Laboratory was taken back from laptop-7.')
  await sees(notice, /It was left in a train\./)
  await nora.context().close()
})

test('a replica is a copy in the data centre; an admin removes it with a reason', async () => {
  const row = rowOf(ada, 'from laptop-7')
  await ada.keyboard.press('Escape')
  await replicate()
  await sees(row, 'Replica')
  await sees(row, /^Sealed by its endpoint under AES-256, in the data centre since /)
  await sees(row, /stored$/)
  await ada.getByRole('button', { name: /^Remove Laboratory of Nora Lind/ }).click()
  const dialog = ada.getByRole('dialog')
  await dialog.getByLabel('Reason').fill('She has left')
  await dialog.getByRole('button', { name: 'Remove' }).click()
  await dialog.waitFor({ state: 'detached' })
  await row.waitFor({ state: 'detached' })
})

test('a workspace and an endpoint have a time line where nothing is left of them, too', async () => {
  for (const [page, name, sentence] of [
    ['workspaces', 'Laboratory', 'Ada Moss made a change: workspace lab.'],
    ['endpoints', 'laptop-7', 'laptop-7 was enrolled as endpoint.'],
  ] as const) {
    await olaf.goto(`/admin/${page}`)
    await olaf.getByRole('button', { name: `Time line of ${name}` }).click()
    await sees(olaf.getByRole('dialog', { name: `Time line of ${name}` }), sentence)
    await olaf.keyboard.press('Escape')
  }
})

test('all that is known of an endpoint is shown with what it is worth', async () => {
  await olaf.getByRole('button', { name: /^What is known of laptop-7/ }).click()
  const known = olaf.getByRole('dialog', { name: 'What is known of laptop-7' })
  await sees(known.getByRole('table', { name: 'Claims' }), /Interception/)
  await sees(known.getByRole('table', { name: 'Claims' }), 'The site has seen it.')
  await olaf.keyboard.press('Escape')
})

test('when many endpoints fall at once every page calls the admins, and one says what it is', async () => {
  const observers = Array.from({ length: 11 }, toldObserver)
  const fleet = await Promise.all(
    observers.map(async (observer, at) =>
      undo.use(await enrolEndpoint(site, admin, `fleet-${at}`, { report: { observers: [observer] } })),
    ),
  )
  for (const { agent } of fleet)
    await until(async () => {
      const { claims } = await admin.get(`/endpoints/${agent.id}/claims`, endpointClaimsAnswer)
      return claims.some(({ name, value }) => name === 'endpoint.reporting' && value === 'current')
    }, 'it is heard of')
  for (const observer of observers) observer.see('endpoint.firewall', 'off')
  await ada.goto('/admin/workspaces')
  const alarm = ada.getByRole('region', { name: 'Alarm' })
  await sees(alarm, / devices fell in trust within /)
  await sees(olaf.getByRole('region', { name: 'Alarm' }), / devices fell in trust within /)
  expect(await olaf.getByRole('region', { name: 'Alarm' }).getByRole('button').count()).toBe(0)
  await alarm.getByRole('button', { name: 'I look after it' }).click()
  await sees(alarm, /looks after it/)
  await alarm.getByRole('button', { name: 'The falls are real: follow the policy now' }).click()
  await alarm.waitFor({ state: 'detached' })
  await olaf.getByRole('region', { name: 'Alarm' }).waitFor({ state: 'detached' })
})

test('the page fits a phone, and no page complained', async () => {
  const phone = await visitors.visit({
    viewport: { width: 390, height: 844 },
    isMobile: true,
    hasTouch: true,
  })
  await signInAt(phone, 'ada')
  await phone.goto('/admin/data')
  await rowOf(phone, 'host-1').waitFor()
  await phone.getByLabel('Order by').selectOption('State')
  const widths = await phone.evaluate(() => [
    document.documentElement.scrollWidth,
    document.documentElement.clientWidth,
  ])
  expect(widths[0]).toBe(widths[1])
  await phone.getByRole('button', { name: /^Time line of/ }).click()
  await sees(phone.getByRole('dialog'), /opened desktop on host host-1/)
  expect(visitors.complaints).toEqual([])
})

function part(page: Page, name: string): Locator {
  return page
    .getByRole('region', { name: 'Picture of where data is' })
    .getByRole('button', { name: new RegExp(`^${name}\\b`) })
}

function rowOf(page: Page, machine: string): Locator {
  return page.getByRole('table', { name: 'Copies of data' }).getByRole('row').filter({ hasText: machine })
}

async function machines(page: Page): Promise<readonly string[]> {
  return page.getByRole('table', { name: 'Copies of data' }).locator('.machine').allInnerTexts()
}

async function saved(deed: () => Promise<void>): Promise<readonly [content: Buffer, name: string]> {
  const [download]: [Download, void] = await Promise.all([olaf.waitForEvent('download'), deed()])
  return [await readFile(await download.path()), download.suggestedFilename()]
}

/** The endpoint opens the workspace for nora once more, sends what was written, which is nothing, and gives it back. */
async function replicate(): Promise<void> {
  await admin.send('PUT', '/admin/policy', { text: overlayPolicy('replicate') }, z.unknown())
  const nora = await site.signIn('nora')
  const made = await laptop.launch(nora, 'lab')
  const delivery = diskOf(made)
  await laptop.agent.askForKey(delivery.lease)
  const held = laptop.agent.leases.hold({ ...delivery.lease, askedAt: made.askedAt, key: Buffer.alloc(32) })
  const [base, blocks] = [`office:1 ${'ab'.repeat(32)}`, 256]
  const about = { personId: delivery.session.person.id, scope: '', base }
  const keys = new ReplicaKeys(overlayKeyOf(release.key), about)
  const manifest = { base, blocks, sequence: 1, writtenAt: Date.now(), ...emptyTable(pieceCount(blocks)) }
  using client = replicaClient(laptop.dir, delivery.lease.id)
  await client.putManifest(encodeManifest(keys, manifest), 0, new AbortController().signal)
  held.end()
  await admin.send('PUT', '/admin/policy', { text: defaultPolicy }, z.unknown())
}
