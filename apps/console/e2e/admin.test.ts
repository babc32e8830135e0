import type { Locator, Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { personView, workspaceDefinition, zoneDefinition } from '#core/api/admin.ts'
import { passwordOf, type RunningSite, startSite } from '../../../interop/running-site.rig.ts'
import { openDatabase } from '../../../interop/site-database.rig.ts'
import { sees, signInAt, startVisitors, type Visitors } from './browser.rig.ts'
import { untilLive } from './screen.rig.ts'

let site: RunningSite
let visitors: Visitors
/** Works all the while. */
let carl: Page
let ada: Page

beforeAll(async () => {
  site = await startSite()
  visitors = await startVisitors(site)
  carl = await visitors.visit()
  ada = await visitors.visit()
  await Promise.all([signInAt(carl, 'carl'), signInAt(ada, 'ada')])
  await openTile(carl, 'Linux desktop')
})
afterAll(async () => {
  await visitors?.[Symbol.asyncDispose]()
  await site?.[Symbol.asyncDispose]()
})

test('an admin sees who works on what, where, and what is withheld from them', async () => {
  await goTo(ada, 'Sessions')
  const row = ada.getByRole('row', { name: /Carl Brandt/ })
  await sees(row, 'Linux desktop')
  await sees(row, 'In use')
  await sees(row, /^host-[12]$/)
  await sees(row, 'Copying out is off')
})

test('an admin sees each decision with its reasons, its cause and its place in the audit log', async () => {
  await goTo(ada, 'Decisions')
  const decision = ada.getByRole('listitem').filter({ hasText: 'Carl Brandt' }).first()
  await decision.getByRole('button').click()
  await sees(decision, /contractor-hosted-inside/)
  await sees(decision, 'Contractors may not copy anything out.')
  await sees(decision, 'Launch')
  await sees(decision, 'Audit log entry')
  await ada.getByLabel('Filter by person or workspace').fill('nobody')
  await sees(ada.getByRole('main'), 'No decision here is about “nobody”.')
})

test('a host that drains keeps its sessions, and new ones start on the other', async () => {
  await goTo(ada, 'Hosts')
  const used = await hostOf(ada, 1)
  await used.getByRole('button', { name: 'Drain' }).click()
  await sees(used, 'Draining')
  const free = (await used.getAttribute('aria-label')) === 'host-1' ? 'host-2' : 'host-1'

  for (const name of ['Editor', 'Terminal']) {
    await carl.goto('/')
    await openTile(carl, name)
  }
  await goTo(ada, 'Sessions')
  for (const name of ['Editor', 'Terminal']) {
    const row = ada.getByRole('row', { name: /Carl Brandt/ }).filter({ hasText: name })
    await sees(row, free)
  }
  await goTo(ada, 'Hosts')
  await used.getByRole('button', { name: 'Take sessions again' }).click()
  await sees(used, 'Online')
})

test('a policy with a mistake is refused by the line it is on; a right one is in force at once', async () => {
  await goTo(ada, 'Policy')
  const editor = ada.getByLabel('Policy text')
  const text = await editor.inputValue()
  const lines = text.split('\n').length
  await editor.fill(`${text}\npermit (principal, action, resources);\n`)
  await ada.getByRole('button', { name: 'Check and activate' }).click()
  await sees(ada.getByRole('alert'), `Line ${lines + 1}, column`)
  expect(await ada.locator('.editor-line-bad').innerText()).toBe(String(lines + 1))

  const rule = '\n@id("editor-on-managed-devices")\n@reason("The editor is for our own devices")\n'
  const when = 'unless { context.endpoint.management.value == "managed" }'
  await editor.fill(`${text}${rule}forbid (principal, action, resource == Workspace::"editor") ${when};\n`)
  await ada.getByRole('button', { name: 'Check and activate' }).click()
  await sees(ada.getByRole('status'), /In force now/)
  await carl.goto('/')
  const tile = carl.getByRole('article', { name: 'Editor' })
  await sees(tile, 'The editor is for our own devices.')
  expect(await tile.getByRole('button', { name: 'Open' }).count()).toBe(0)
})

test('a button that does nothing now stays as pale under the pointer', async () => {
  const button = ada.getByRole('button', { name: 'Check and activate' })
  const look = () => button.evaluate((it) => getComputedStyle(it).backgroundColor)
  await ada.getByRole('heading', { level: 1 }).hover()
  await expect
    .poll(look)
    .toBe(await ada.locator('.editor-lines').evaluate((it) => getComputedStyle(it).backgroundColor))
  const pale = await look()
  await button.hover({ force: true })
  await ada.waitForTimeout(400)
  expect(await look()).toBe(pale)
})

test('neither another page nor a sign-in that ended takes the draft of a policy away', async () => {
  await goTo(ada, 'Policy')
  const editor = ada.getByLabel('Policy text')
  const text = await editor.inputValue()
  await editor.fill(`${text}\n// draft`)
  await goTo(ada, 'People')
  await goTo(ada, 'Policy')
  expect(await editor.inputValue()).toBe(`${text}\n// draft`)
  await using database = await openDatabase(site)
  await database.rows(
    "delete from web_sessions where person_id in (select id from people where login = 'ada')",
  )
  await sees(ada.getByRole('main'), /Your sign-in has ended/)
  await ada.getByLabel('User name').fill('ada')
  await ada.getByLabel('Password').fill(passwordOf('ada'))
  await ada.getByRole('button', { name: 'Sign in' }).click()
  await ada.getByRole('heading', { level: 1, name: 'Policy' }).waitFor()
  expect(await editor.inputValue()).toBe(`${text}\n// draft`)
  await ada.getByRole('button', { name: 'Discard changes' }).click()
  expect(await editor.inputValue()).toBe(text)
})

test('two admins do not undo each other: what is based on an older policy, network or person is not sent over it', async () => {
  const other = await site.signIn('ada')
  await goTo(ada, 'Policy')
  const editor = ada.getByLabel('Policy text')
  const text = await editor.inputValue()
  await editor.fill(`${text}\n// mine`)
  await other.send('PUT', '/admin/policy', { text: `${text}\n// theirs` }, z.unknown())
  await ada.getByRole('button', { name: 'Check and activate' }).click()
  await sees(ada.getByRole('alert'), /Somebody else has changed the policy meanwhile/)
  expect(await editor.inputValue()).toBe(`${text}\n// mine`)
  await ada.getByText(/In force now, by ada/).click()
  await sees(ada.locator('.policy-now'), /theirs/)
  await ada.getByRole('button', { name: 'Check and activate' }).click()
  await sees(ada.getByRole('status'), /In force now/)

  await ada.getByRole('button', { name: 'Add a zone' }).click()
  const zoneDialog = ada.getByRole('dialog')
  await zoneDialog.getByLabel('Name').fill('Ward 8')
  await zoneDialog.getByRole('button', { name: 'Save' }).click()
  await expectWrong(zoneDialog.getByLabel('Name'), 'Lower-case letters, digits and dashes, 40 at most.')
  await zoneDialog.getByLabel('Name').fill('office')
  await zoneDialog.getByRole('textbox', { name: 'Networks' }).fill('192.0.2.0/33')
  await zoneDialog.getByRole('button', { name: 'Save' }).click()
  await expectWrong(zoneDialog.getByLabel('Name'), /another zone is called office/)
  await zoneDialog.getByLabel('Name').fill('mine')
  await zoneDialog.getByRole('button', { name: 'Save' }).click()
  await expectWrong(zoneDialog.getByRole('textbox', { name: 'Networks' }), /192\.0\.2\.0\/33/)
  await zoneDialog.getByRole('textbox', { name: 'Networks' }).fill('192.0.2.0/24')
  const { zones } = await other.get('/admin/zones', z.object({ zones: z.array(zoneDefinition) }))
  const theirs = { name: 'theirs', kind: 'outside', networks: ['198.51.100.0/24'] }
  await other.send('PUT', '/admin/zones', { zones: [...zones, theirs] }, z.unknown())
  await zoneDialog.getByRole('button', { name: 'Save' }).click()
  await sees(zoneDialog.getByRole('alert'), /Somebody else has changed the networks meanwhile/)
  await ada.locator('tr', { hasText: 'theirs' }).waitFor()
  await zoneDialog.getByRole('button', { name: 'Save' }).click()
  await zoneDialog.waitFor({ state: 'detached' })
  await ada.getByRole('row', { name: /mine/ }).waitFor()
  await ada.getByRole('row', { name: /theirs/ }).waitFor()

  // A network that both have changed: theirs is shown, and only who has chosen so saves over it.
  await ada.getByRole('button', { name: 'Edit zone theirs' }).click()
  await zoneDialog.getByRole('textbox', { name: 'Networks' }).fill('198.51.100.0/25')
  const changed = await other.get('/admin/zones', z.object({ zones: z.array(zoneDefinition) }))
  const hostile = changed.zones.map((one) => (one.name === 'theirs' ? { ...one, kind: 'hostile' } : one))
  await other.send('PUT', '/admin/zones', { zones: hostile }, z.unknown())
  await zoneDialog.getByRole('button', { name: 'Save' }).click()
  await sees(zoneDialog.getByRole('row', { name: 'Kind' }), 'hostile')
  expect(await zoneDialog.getByRole('button', { name: 'Save', exact: true }).count()).toBe(0)
  await zoneDialog.getByRole('button', { name: 'Discard mine' }).click()
  expect(await zoneDialog.getByRole('radio', { name: 'hostile' }).isChecked()).toBe(true)
  expect(await zoneDialog.getByRole('textbox', { name: 'Networks' }).inputValue()).toBe('198.51.100.0/24')
  await zoneDialog.getByRole('button', { name: 'Cancel' }).click()
  await zoneDialog.waitFor({ state: 'detached' })

  // One click too many takes no network away.
  await ada.getByRole('button', { name: 'Edit zone mine' }).click()
  await zoneDialog.getByRole('button', { name: 'Remove' }).click()
  const confirm = ada.getByRole('dialog', { name: 'Remove the zone mine?' })
  await confirm.getByRole('button', { name: 'Cancel' }).click()
  await zoneDialog.getByRole('button', { name: 'Remove' }).click()
  await confirm.getByRole('button', { name: 'Remove the zone' }).click()
  await ada.getByRole('row', { name: /mine/ }).waitFor({ state: 'detached' })

  await goTo(ada, 'People')
  const { people } = await other.get('/admin/people', z.looseObject({ people: z.array(personView) }))
  const nora = people.find(({ login }) => login === 'nora')
  const groups = [...(nora?.groups ?? []), 'night-shift']
  await ada.getByRole('button', { name: 'Edit Nora Lind' }).click()
  await other.send('PATCH', `/admin/people/${nora?.id}`, { groups }, z.unknown())
  await ada.getByRole('dialog').getByLabel('Name', { exact: true }).fill('Nora Lindgren')
  await ada.getByRole('dialog').getByRole('button', { name: 'Save' }).click()
  await sees(ada.getByRole('row', { name: /Nora Lindgren/ }), 'night-shift')
})

test('a workspace that is edited keeps its command, and a new one never takes the place of another', async () => {
  const asked = await site.signIn('ada')
  const terminal = () => asked.get('/admin/workspaces/terminal', workspaceDefinition)
  const before = await terminal()
  await goTo(ada, 'Workspaces')
  await ada.getByRole('button', { name: 'Edit Terminal' }).click()
  const dialog = ada.getByRole('dialog')
  await dialog.getByLabel('Description').fill('Words only')
  await dialog.getByRole('button', { name: 'Save' }).click()
  await dialog.waitFor({ state: 'detached' })
  const described = { ...before, description: 'Words only' }
  expect(await terminal()).toEqual(described)

  await ada.getByRole('button', { name: 'Edit Terminal' }).click()
  await dialog.getByLabel('Name', { exact: true }).fill('My terminal')
  await asked.send('PUT', '/admin/workspaces/terminal', { ...described, icon: 'chart' }, z.unknown())
  await dialog.getByRole('button', { name: 'Save' }).click()
  await sees(dialog.getByRole('row', { name: 'Icon' }), 'chart')
  expect(await terminal()).toEqual({ ...described, icon: 'chart' })
  await dialog.getByRole('button', { name: 'Save mine over it' }).click()
  await dialog.waitFor({ state: 'detached' })
  expect(await terminal()).toEqual({ ...described, name: 'My terminal' })
  await asked.send('PUT', '/admin/workspaces/terminal', described, z.unknown())

  await ada.getByRole('button', { name: 'Add a workspace' }).click()
  await dialog.getByLabel('Identifier').fill('terminal')
  await dialog.getByLabel('Name', { exact: true }).fill('Mine')
  await dialog.getByLabel('Command').fill('xterm\n-T\nTwo words')
  await dialog.getByRole('button', { name: 'Add' }).click()
  await expectWrong(
    dialog.getByLabel('Identifier'),
    /^The workspace terminal exists already\. Choose another identifier\./,
  )
  expect(await terminal()).toEqual(described)
  await dialog.getByLabel('Identifier').fill('mine')
  await dialog.getByRole('button', { name: 'Add' }).click()
  await dialog.waitFor({ state: 'detached' })
  const { program } = await asked.get('/admin/workspaces/mine', workspaceDefinition)
  expect(program).toEqual({ kind: 'application', command: ['xterm', '-T', 'Two words'] })
})

test('an admin adds a person who can sign in; what is missing is said where it is, and nothing typed is lost', async () => {
  await goTo(ada, 'People')
  await ada.getByRole('button', { name: 'Add a person' }).click()
  const dialog = ada.getByRole('dialog', { name: 'Add a person' })
  for (const leave of [() => ada.keyboard.press('Escape'), () => ada.goBack()]) {
    await leave()
    await dialog.waitFor({ state: 'detached' })
    await ada.getByRole('button', { name: 'Add a person' }).click()
  }
  await dialog.getByLabel('Name', { exact: true }).fill('Mia Koch')
  await dialog.getByLabel('User name').fill('Mia K')
  await dialog.getByRole('button', { name: 'Add' }).click()
  const login = dialog.getByRole('textbox', { name: 'User name' })
  expect(await login.evaluate((field) => field === document.activeElement)).toBe(true)
  await expectWrong(login, 'Lower-case letters, digits, dots and dashes, 32 at most.')
  await expectWrong(
    dialog.getByLabel('First password'),
    'First password: this is missing. 12 characters or more.',
  )
  await dialog.getByLabel('First password').fill('short')
  await dialog.getByRole('button', { name: 'Add' }).click()
  await expectWrong(
    dialog.getByLabel('First password'),
    'At least 12 characters; these are 5. 12 characters or more.',
  )
  await login.fill('nora')
  expect(await login.getAttribute('aria-invalid')).toBeNull()
  await dialog.getByLabel('First password').fill('velvet-compass-31')
  await dialog.getByRole('button', { name: 'Add' }).click()
  await dialog.locator('input[name=login]:focus').waitFor()
  await expectWrong(login, 'There is a person called nora already. Choose another user name.')
  await login.fill('mia')
  expect(await login.getAttribute('aria-invalid')).toBeNull()

  for (const leave of [
    () => ada.keyboard.press('Escape'),
    () => dialog.getByRole('button', { name: 'Close' }).first().click(),
    () => dialog.getByRole('button', { name: 'Cancel' }).click(),
    () => ada.goBack(),
  ]) {
    await leave()
    const question = ada.getByRole('dialog', { name: 'Discard what you have changed?' })
    await question.locator('button:focus', { hasText: 'Keep editing' }).waitFor()
    await ada.goBack()
    await question.waitFor({ state: 'detached' })
    expect(await login.inputValue()).toBe('mia')
  }
  await dialog.getByLabel('Groups').fill('employees')
  await dialog.getByRole('button', { name: 'Add' }).click()
  await ada.getByRole('row', { name: /Mia Koch/ }).waitFor()
  // Of the dialogs nothing is left that Back would have to go through.
  await ada.goBack()
  await ada.getByRole('heading', { level: 1, name: 'Workspaces' }).waitFor()
  await goTo(ada, 'People')
  const mia = await visitors.visit()
  await signInAt(mia, 'mia', 'velvet-compass-31')
  await mia.getByRole('article', { name: 'Linux desktop' }).waitFor()
  await mia.context().close()
})

test('before a person or a workspace is deleted an admin reads what that leads to, and it ends at once', async () => {
  const mia = await visitors.visit()
  await signInAt(mia, 'mia', 'velvet-compass-31')
  await openTile(mia, 'Linux desktop')
  await goTo(ada, 'People')
  await ada.getByRole('button', { name: 'Edit Ada' }).click()
  const edit = ada.getByRole('dialog', { name: /^Edit/ })
  expect(await edit.getByRole('button', { name: 'Delete' }).count()).toBe(0)
  await edit.getByRole('button', { name: 'Cancel' }).click()
  await ada.getByRole('button', { name: 'Edit Mia Koch' }).click()
  await edit.getByRole('button', { name: 'Delete' }).click()
  const dialog = ada.getByRole('dialog', { name: 'Delete Mia Koch?' })
  await sees(dialog, '1 running session ends at once.')
  await sees(dialog, /The home of the account tc-mia-\w+ stays on host-[12]/)
  await dialog.getByLabel('Discard it, on devices').check()
  await sees(dialog, /The home of the account tc-mia-\w+ on host-[12].* is removed by each host as soon as/)
  await dialog.getByRole('button', { name: 'Cancel' }).click()
  await ada.getByRole('button', { name: 'Edit Mia Koch' }).click()
  await edit.getByRole('button', { name: 'Delete' }).click()
  await dialog.getByRole('button', { name: 'Delete' }).click()
  await ada.getByRole('row', { name: /Mia Koch/ }).waitFor({ state: 'detached' })
  await sees(mia.locator('body'), /Sign in/)
  await mia.context().close()
  await goTo(ada, 'Sessions')
  await ada.getByRole('row', { name: /Mia Koch/ }).waitFor({ state: 'detached' })

  await goTo(ada, 'Workspaces')
  await ada.getByRole('button', { name: 'Edit Mine' }).click()
  await edit.getByRole('button', { name: 'Delete' }).click()
  const mine = ada.getByRole('dialog', { name: 'Delete Mine?' })
  await sees(mine, 'Nothing runs, and nothing was written.')
  await mine.getByRole('button', { name: 'Delete' }).click()
  await ada.getByRole('row', { name: /Mine/ }).waitFor({ state: 'detached' })
  await ada.getByRole('button', { name: 'Add a workspace' }).click()
  const add = ada.getByRole('dialog', { name: 'Add a workspace' })
  await add.getByLabel('Identifier').fill('mine')
  await add.getByLabel('Name', { exact: true }).fill('Mine again')
  await add.getByLabel('Command').fill('xterm')
  await add.getByRole('button', { name: 'Add' }).click()
  await expectWrong(add.getByLabel('Identifier'), /is never used again/)
  await add.getByRole('button', { name: 'Cancel' }).click()
  await ada.getByRole('button', { name: 'Discard', exact: true }).click()

  await goTo(ada, 'Data')
  await ada.getByRole('button', { name: 'Find a time line' }).click()
  const find = ada.getByRole('dialog', { name: 'Find a time line' })
  await find.getByLabel('Of a').selectOption('person')
  await find.getByLabel('Identifier or user name').fill('mia')
  await find.getByRole('button', { name: 'Show' }).click()
  const told = ada.getByRole('dialog', { name: 'Time line of mia' })
  await sees(told, /made a change: person deleted Mia Koch/)
  await sees(told, /The session of Mia Koch ended: This account was deleted/)
  await told.getByRole('button', { name: 'Close' }).click()
})

test('the keyboard is never left nowhere: not by a question, a form that opens, or a refusal', async () => {
  await carl.goto('/')
  await carl.getByRole('button', { name: 'Reconnect' }).first().click()
  await untilLive(carl)
  await carl.keyboard.press('Control+Alt+Shift+KeyM')
  const end = carl.getByRole('button', { name: 'End session' })
  await end.focus()
  await carl.keyboard.press('Enter')
  await carl.getByRole('dialog').waitFor()
  await carl.keyboard.press('Escape')
  await carl.getByRole('dialog').waitFor({ state: 'detached' })
  await carl.locator('button[aria-label="End session"]:focus').waitFor()

  await goTo(ada, 'Hosts')
  await ada.getByRole('button', { name: 'Add a host' }).click()
  await ada.locator('input[name=name]:focus').waitFor()
  await ada.keyboard.press('Escape')

  const mistyped = await visitors.visit()
  await mistyped.goto('/sign-in')
  await mistyped.getByLabel('User name').fill('nora')
  await mistyped.getByLabel('Password').fill('not-her-password')
  await mistyped.getByRole('button', { name: 'Sign in' }).focus()
  await mistyped.keyboard.press('Enter')
  await mistyped.getByRole('alert').waitFor()
  await mistyped.locator('button:focus', { hasText: 'Sign in' }).waitFor()
  await mistyped.context().close()
})

test('who signs in in another tab is who this one is of, too', async () => {
  const first = await visitors.visit()
  await signInAt(first, 'olaf')
  await sees(first.getByRole('main'), /, Olaf/)
  const second = await first.context().newPage()
  await second.goto('/sign-in')
  await second.getByLabel('User name').fill('nora')
  await second.getByLabel('Password').fill(passwordOf('nora'))
  await second.getByRole('button', { name: 'Sign in' }).click()
  await sees(first.getByRole('main'), /, Nora/)
  await first.context().close()
})

test('who signs out in another tab reads here that an open form was not saved', async () => {
  const first = await visitors.visit()
  await signInAt(first, 'ada')
  await first.goto('/admin/people')
  await first.getByRole('button', { name: 'Add a person' }).click()
  await first.getByRole('dialog').getByLabel('Name', { exact: true }).fill('Greta Sand')
  const second = await first.context().newPage()
  await second.goto('/')
  await second.getByRole('button', { name: 'Ada Moss' }).click()
  await second.getByRole('button', { name: 'Sign out' }).click()
  await first.waitForURL(/\/sign-in/)
  await sees(first.getByRole('status'), 'The form that was open was not saved.')
  await first.context().close()
})

test('an auditor sees it all and is offered no change', async () => {
  const olaf = await visitors.visit()
  await signInAt(olaf, 'olaf')
  await sees(olaf.getByRole('main'), 'You are here to look')
  for (const [page, shown] of [
    ['Sessions', /Carl Brandt/],
    ['Hosts', 'host-1'],
    ['Decisions', /Carl Brandt/],
    ['Workspaces', 'Linux desktop'],
  ] as const) {
    await goTo(olaf, page)
    await sees(olaf.getByRole('main'), shown)
    expect(await changes(olaf), page).toEqual([])
  }
  await goTo(olaf, 'Policy')
  expect(await olaf.getByLabel('Policy text').getAttribute('readonly')).not.toBeNull()
  expect(await changes(olaf)).toEqual([])
  expect(await olaf.getByRole('link', { name: 'People' }).count()).toBe(0)

  await goTo(olaf, 'Sessions')
  await olaf.route('**/api/v1/admin/sessions?*', (route) =>
    route.fulfill({ status: 500, json: { code: 'SITE_BROKEN', message: 'something went wrong' } }),
  )
  await sees(olaf.getByRole('main'), 'What you see may be out of date.')
  await sees(olaf.getByRole('main'), /Carl Brandt/)
  await olaf.unroute('**/api/v1/admin/sessions?*')
  await olaf.getByText('What you see may be out of date.').waitFor({ state: 'detached' })

  const asked = await site.signIn('ada')
  const { people } = await asked.get('/admin/people', z.looseObject({ people: z.array(personView) }))
  const { id, groups } = people.find(({ login }) => login === 'olaf') ?? { id: '', groups: [] }
  await asked.send('PATCH', `/admin/people/${id}`, { groups: [] }, z.unknown())
  await sees(olaf.getByRole('main'), 'This page is for admins')
  await asked.send('PATCH', `/admin/people/${id}`, { groups }, z.unknown())
  await olaf.reload()
  await olaf.goto('/admin/people')
  await olaf.getByRole('heading', { level: 1, name: 'This page is for admins' }).waitFor()
  expect(await olaf.title()).toBe('Not permitted · Trustcast')
  await olaf.context().close()
})

test('no page complained about anything', () => {
  expect(visitors.complaints).toEqual([])
})

async function openTile(page: Page, name: string): Promise<void> {
  await page.getByRole('article', { name }).getByRole('button', { name: 'Open' }).click()
  await untilLive(page)
}

async function goTo(page: Page, name: string): Promise<void> {
  await page.getByRole('navigation').getByRole('link', { name, exact: true }).click()
  await page.getByRole('heading', { level: 1, name }).waitFor()
}

/** The card of the host that runs this many sessions. */
async function hostOf(page: Page, sessions: number) {
  const card = page.getByRole('article').filter({ hasText: `${sessions} of ` })
  await card.waitFor()
  return page.getByRole('article', { name: (await card.getAttribute('aria-label')) ?? '' })
}

/** A field that says itself what is wrong with it, to eyes and ears. */
async function expectWrong(field: Locator, description: string | RegExp): Promise<void> {
  await expect.poll(() => field.getAttribute('aria-invalid')).toBe('true')
  const ids = ((await field.getAttribute('aria-describedby')) ?? '').split(' ')
  const notes = ids.map((id) => field.page().locator(`[id="${id}"]`).innerText())
  expect((await Promise.all(notes)).join(' ')).toMatch(description)
}

/** Names of the buttons on the page that would change something. */
async function changes(page: Page): Promise<readonly string[]> {
  const names = await page.getByRole('main').getByRole('button').allInnerTexts()
  return names.filter((name) => /^(Add|Edit|End|Delete|Drain|Revoke|Take|Check|Discard|Save)\b/.test(name))
}
