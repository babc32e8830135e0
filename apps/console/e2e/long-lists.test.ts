import type { Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { type RunningSite, startSite } from '../../../interop/running-site.rig.ts'
import { openDatabase } from '../../../interop/site-database.rig.ts'
import { sees, signInAt, startVisitors, type Visitors } from './browser.rig.ts'

/** An admin of many finds one of them. */

vi.setConfig({ testTimeout: 60_000 })
let undo: AsyncDisposableStack
let site: RunningSite
let visitors: Visitors
let ada: Page

beforeAll(async () => {
  undo = new AsyncDisposableStack()
  site = undo.use(await startSite({ args: ['--hosts', '1', '--gateways', '1'] }))
  const database = undo.use(await openDatabase(site))
  await database.rows(`
    insert into people (id, login, name, groups, created_at)
    select gen_random_uuid(), 'person-' || lpad(n::text, 3, '0'), 'Person ' || n, '{night-shift}', now() from generate_series(1, 300) n`)
  await database.rows(`
    insert into agents (id, kind, name, dns_names, pool, certificate_expires_at, report, last_seen_at, owner_id)
    select gen_random_uuid(), 'endpoint', 'laptop-' || substr(login, 8), '{}', 'ward', now() + interval '1 day', '{}',
      case when login < 'person-200' then now() + interval '1 hour' end, id
    from people where login like 'person-%'`)
  // Something is left of everybody on their laptop.
  await database.rows(`
    insert into sessions (id, person_id, endpoint_id, width, height, restrictions, obligations, evidence, decision_id, started_at, ends_at,
      workspace_id, rights, mode, account, state, ended_at)
    select id, owner_id, id, 0, 0, '[]', '{}', '[]', id, now(), now(), 'desktop', '{}', 'streamed-disk', '', 'ended', now()
    from agents where pool = 'ward'`)
  await database.rows(`
    insert into leases (id, session_id, person_id, endpoint_id, written_before, ended_at, stats, superseded, counter, made_at, expires_at,
      workspace_id, image, version, overlay_at_start, manifest_digest, mode, overlay, state)
    select gen_random_uuid(), id, person_id, endpoint_id, 0, ended_at, '{"bytesFetched":0,"bytesLocal":0,"percentLocal":0,"cacheHits":0,"bytesWritten":1}',
      false, 1, now(), now(), 'desktop', 'office', '1', 'keep', '', 'streamed-disk', 'keep', 'ended'
    from sessions where endpoint_id is not null`)
  await database.rows(`
    insert into decisions (id, audit_index, at, person_id, workspace_id, zone, cause, decision)
    select id, 0, now(), id, 'desktop', 'office', 'launch', '{"refused":[],"policyDigest":"","contextDigest":""}'
    from people where login like 'person-%'`)
  visitors = undo.use(await startVisitors(site))
  ada = await visitors.visit()
  await signInAt(ada, 'ada')
}, 240_000)
afterAll(() => undo.disposeAsync())

test('endpoints are turned page by page and searched, and counted', async () => {
  await ada.goto('/admin/endpoints')
  const status = ada.getByRole('status')
  await sees(status, '1–50 of 300, 199 connected')
  await sees(ada.getByRole('table'), 'laptop-001')
  expect(await ada.getByRole('button', { name: 'Previous' }).isDisabled()).toBe(true)
  await ada.getByRole('button', { name: 'Next' }).click()
  await sees(status, '51–100 of 300')
  await sees(ada.getByRole('table'), 'laptop-100')
  await ada.getByRole('button', { name: 'Previous' }).click()
  await sees(ada.getByRole('table'), 'laptop-001')

  await ada.getByLabel('Search by name, group or owner').fill('person-299')
  await sees(status, '1–1 of 1, 0 connected')
  await ada.getByRole('button', { name: 'What is known of laptop-299: Silent' }).click()
  await sees(ada.getByRole('dialog'), 'Nothing is known.')
  await ada.keyboard.press('Escape')
  await ada.getByLabel('Search by name, group or owner').fill('nobody has this')
  await sees(ada.getByRole('main'), 'Nothing is like “nobody has this”.')
})

test('of many copies of data some are drawn, the first in order, and more on demand', async () => {
  await ada.goto('/admin/data')
  await sees(ada.getByRole('main'), '300 of 300')
  await ada.getByRole('button', { name: 'Where' }).click()
  const rows = ada.getByRole('table', { name: 'Copies of data' }).getByRole('rowheader')
  await sees(ada.getByRole('row').nth(1), 'laptop-300')
  expect(await rows.count()).toBe(200)
  await ada.getByRole('button', { name: 'Show 100 more of 300' }).click()
  await sees(ada.getByRole('row').nth(300), 'laptop-001')
  expect(await rows.count()).toBe(300)
})

test('a filter says among which decisions it looks', async () => {
  await ada.goto('/admin/decisions')
  await ada.getByLabel('Filter by person or workspace').fill('nobody')
  await sees(ada.getByRole('status'), '0 of the latest 50')
  await sees(ada.getByRole('main'), 'No decision among the latest 50 is about “nobody”.')
  await ada.getByRole('button', { name: 'Older decisions' }).click()
  await sees(ada.getByRole('status'), '0 of the latest 100')
})

test('a name that is one long word stays within a dialog and a table', async () => {
  const name = 'Wolfeschlegelsteinhausen'.repeat(4)
  await ada.goto('/admin/people')
  await ada.getByLabel('Search by name or user name').fill('person-299')
  await ada.getByRole('button', { name: 'Edit Person 299' }).click()
  await ada.getByRole('dialog').getByLabel('Name', { exact: true }).fill(name)
  await ada.getByRole('button', { name: 'Save' }).click()
  await ada.getByRole('button', { name: `Edit ${name}` }).click()
  for (const box of [ada.getByRole('dialog'), ada.locator('.table-box')])
    expect(await box.evaluate((it) => it.scrollWidth - it.clientWidth)).toBe(0)
  await ada.keyboard.press('Escape')
})

test('somebody on the last page of people is found and put into another group', async () => {
  await ada.goto('/admin/people')
  await ada.getByLabel('Search by name or user name').fill('PERSON-300')
  await sees(ada.getByRole('status'), '1–1 of 1')
  await ada.getByRole('button', { name: 'Edit Person 300' }).click()
  const dialog = ada.getByRole('dialog')
  const groups = dialog.getByLabel('Groups')
  expect(await groups.inputValue()).toBe('night-shift')
  await groups.fill('employes day-shift ')
  const note = dialog.getByRole('status')
  await sees(note, /^“employes” is used nowhere: .* It gives no access\.$/)
  await sees(note, /^“day-shift” is used nowhere/)
  await groups.fill('day-shift employ')
  const offered = dialog.getByRole('list', { name: 'Suggestions' }).getByRole('button')
  expect(await offered.allInnerTexts()).toEqual(['employees'])
  await offered.click()
  expect(await groups.inputValue()).toBe('day-shift employees ')
  expect(await offered.allInnerTexts()).toEqual(['admins', 'auditors', 'contractors', 'night-shift'])
  await groups.fill('day-shift employees night-shift')
  await sees(note, 'The policy does not name “night-shift”: it gives no access.')
  await ada.getByRole('button', { name: 'Save' }).click()
  await sees(ada.getByRole('row', { name: 'Person 300' }), 'day-shift')
  expect(visitors.complaints).toEqual([])
})
