import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type EnrolledEndpoint, enrolEndpoint, leaseInUse } from '../../../interop/enrolled-endpoint.rig.ts'
import {
  passwordOf,
  type RunningSite,
  type SignedInClient,
  startSite,
} from '../../../interop/running-site.rig.ts'
import { sees, signInAt, startVisitors, type Visitors } from './browser.rig.ts'

/** One story: people sign by the command line, and do and see the rest in the console. */

const image = 'ward-desktop'
const MiB = 1024 * 1024
let undo: AsyncDisposableStack
let site: RunningSite
let visitors: Visitors
let admin: SignedInClient
let laptop: EnrolledEndpoint
let ada: Page
let nora: Page
const environment = { ...process.env }

beforeAll(async () => {
  undo = new AsyncDisposableStack()
  undo.defer(() => void (process.env = environment))
  site = undo.use(await startSite({ args: ['--hosts', '1', '--gateways', '1'] }))
  visitors = undo.use(await startVisitors(site))
  admin = await site.signIn('ada')
  process.env['TRUSTCAST_STORE'] = join(site.state, 'images')
  process.env['TRUSTCAST_IMAGES'] = join(site.state, 'image-keys')
  await writeFile(join(site.state, 'root.crt'), site.address.ca ?? '')
  await writeFile(join(site.state, 'passphrase'), 'a long passphrase\n')
  const login = ['login', site.url, '--user', 'ada', '--ca', join(site.state, 'root.crt')]
  expect(await site.cli(login, { login: 'ada', input: `${passwordOf('ada')}\n` })).toMatchObject({ code: 0 })
  ada = await visitors.visit({ permissions: ['clipboard-read', 'clipboard-write'] })
  nora = await visitors.visit()
  await Promise.all([signInAt(ada, 'ada'), signInAt(nora, 'nora')])
})
afterAll(() => undo.disposeAsync())

const main = (): ReturnType<Page['getByRole']> => ada.getByRole('main')
const release = (version: string) =>
  ada
    .getByRole('list', { name: `Releases of ${image}` })
    .getByRole('listitem')
    .filter({ has: ada.locator('strong', { hasText: new RegExp(`^${version}$`) }) })

test('before anybody signs, the page says how to begin', async () => {
  await ada.getByRole('navigation').getByRole('link', { name: 'Images', exact: true }).click()
  await sees(main(), 'Nobody has said yet who signs')
  await sees(main(), './trustcast image root PUBLICFILE… --threshold N')
})

test('an image that was registered shows what to sign, and by whom it must be', async () => {
  const keys = []
  for (const name of ['alice', 'bob']) {
    await run(
      'key',
      'create',
      keyOf(name),
      '--name',
      name,
      '--passphrase-file',
      join(site.state, 'passphrase'),
    )
    keys.push(`${keyOf(name)}.pub`)
  }
  await run('image', 'root', ...keys, '--threshold', '1')
  await run('image', 'delegate', image, ...keys, '--threshold', '2')
  await sign('root', 'alice')
  await sign('targets', 'alice')
  const disk = new Uint8Array(8 * MiB)
  disk.set(randomBytes(4 * MiB))
  await register('1', disk)
  disk.set(randomBytes(MiB), MiB)
  await register('2', disk)

  await ada.reload()
  await ada.getByRole('button', { name: 'Publish the 2 that are signed' }).click()
  await sees(release('2'), 'Not released')
  await release('2').getByRole('button', { name: '2 Not released' }).click()
  await sees(release('2'), `./trustcast image sign ${image}:2 --key FILE`)
  const picture = await release('2').getByRole('img').getAttribute('aria-label')
  expect(picture).toBe(
    'Of the 8 MiB of the disk, 88 % are in 2 as in 1; 1 MiB changed and 0 bytes were cleared. It changed from 13 % to 25 % of the disk.',
  )
})

test('a release is published only when the threshold has signed, then promoted', async () => {
  await sign(`${image}:1`, 'alice')
  await ada.reload()
  const proposal = ada.getByRole('article', { name: `${image}:1` })
  await sees(proposal, '1 of 2 signatures')
  expect(await proposal.getByRole('list').innerText()).toMatch(/alice\s+has signed\s+bob\s+can sign/)
  expect(await proposal.getByRole('button', { name: 'Publish' }).isDisabled()).toBe(true)
  await proposal.getByRole('button', { name: /^Copy the command/ }).click()
  const command = await ada.evaluate(() => navigator.clipboard.readText())
  expect(command).toBe(`./trustcast image sign ${image}:1 --key FILE`)

  await sign(`${image}:1`, 'bob')
  await ada.reload()
  await proposal.getByRole('button', { name: 'Publish' }).click()
  await proposal.waitFor({ state: 'detached' })
  await ada.getByRole('button', { name: `Promote to production of ${image}` }).click()
  const dialog = ada.getByRole('dialog')
  expect(await dialog.getByLabel('A wave: some first').isDisabled()).toBe(true)
  await dialog.getByRole('button', { name: 'Promote' }).click()
  await sees(release('1'), 'production')
})

test('an endpoint that is added gets its command, and what it streams is seen live', async () => {
  await goTo('Endpoints')
  await ada.getByRole('button', { name: 'Add an endpoint' }).first().click()
  await ada.getByLabel('Name').fill('desk-1')
  await ada.getByLabel('Group').fill('pilots')
  await ada.getByRole('button', { name: 'Make the command' }).click()
  expect(await ada.getByLabel('Command').innerText()).toMatch(/^\.\/trustcast enroll https:\S+ --token \S+$/)
  await ada.getByRole('button', { name: 'Done' }).click()

  await goTo('Workspaces')
  await ada.getByRole('button', { name: 'Edit Editor' }).click()
  await ada.getByRole('dialog').getByLabel('Streamed disk').check()
  await ada.getByRole('button', { name: 'Prefer Streamed disk more' }).click()
  await ada.getByRole('dialog').getByLabel('Image').fill(image)
  await ada.getByRole('dialog').getByLabel('Application', { exact: true }).fill('writer')
  await ada.getByRole('button', { name: 'Save' }).click()
  await sees(ada.getByRole('row', { name: /Editor/ }), 'Streamed disk, else Shared host')

  laptop = undo.use(await enrolEndpoint(site, admin, 'laptop-1'))
  const { stats } = await leaseInUse(laptop, await laptop.launch(await site.signIn('nora'), 'editor'))
  await goTo('Endpoints')
  await sees(ada.getByRole('row', { name: /laptop-1/ }), `${image}:1`)
  await goTo('Images')
  const lease = ada.getByRole('row', { name: /laptop-1/ })
  await sees(lease, 'Held')
  Object.assign(stats, { bytesFetched: 3 * MiB, bytesLocal: 2 * MiB, cacheHits: 1234, percentLocal: 41.6 })
  for (const shown of ['3 MiB', '2 MiB', '1,234 hits', '42 %']) await sees(lease, shown)
  await sees(release('1'), 'In use on 1')
})

test('a wave of the next release starts with canaries and only grows', async () => {
  await sign(`${image}:2`, 'alice')
  await sign(`${image}:2`, 'bob')
  await ada.reload()
  await ada.getByRole('button', { name: `Publish ${image}:2` }).click()
  await ada.getByRole('button', { name: `Promote to production of ${image}` }).click()
  const dialog = ada.getByRole('dialog')
  await dialog.getByLabel('A wave: some first').check()
  await dialog.getByLabel('Canary groups').fill('pilots')
  await dialog.getByLabel('Percent of the other endpoints').fill('10')
  await dialog.getByRole('button', { name: 'Promote' }).click()
  await sees(main(), 'for 10 % of endpoints, first group pilots')
  await ada.getByRole('button', { name: `Change the wave of production of ${image}` }).click()
  await dialog.getByLabel('Percent of the other endpoints').fill('5')
  await dialog.getByRole('button', { name: 'Change the wave' }).click()
  expect(await dialog.isVisible()).toBe(true)
  await dialog.getByLabel('Percent of the other endpoints').fill('100')
  await dialog.getByRole('button', { name: 'Change the wave' }).click()
  await dialog.waitFor({ state: 'detached' })
  // Not `production 10 %`, as it was before.
  await release('2').getByText('production', { exact: true }).waitFor()
})

test('going back is proposed, and says what must be signed for it', async () => {
  await release('1').getByRole('button').first().click()
  await release('1').getByRole('button', { name: 'Roll back to 1' }).click()
  const dialog = ada.getByRole('dialog')
  await sees(dialog, /It changes nothing until 2 of alice, bob have signed it/)
  await dialog.getByRole('button', { name: 'Propose to roll back' }).click()
  await sees(dialog, `./trustcast image sign ${image}:1-again-3 --key FILE`)
  await dialog.getByRole('button', { name: 'Done' }).click()
  await sees(ada.getByRole('article', { name: `${image}:1-again-3` }), /a way back/)
})

test('what an admin takes back is gone; its person sees why and goes on hosted by one click', async () => {
  await nora.goto('/')
  await sees(nora.getByRole('region', { name: 'Running now' }), /on laptop-1/)
  await ada.getByRole('button', { name: `Withdraw ${image} from laptop-1` }).click()
  await ada.getByRole('dialog').getByRole('button', { name: 'Withdraw' }).click()
  const notice = nora.getByRole('list', { name: 'Taken back' })
  await sees(notice, 'Editor was taken back from laptop-1.')
  await notice.getByRole('button', { name: 'Go on in the data centre' }).click()
  await nora.waitForURL(/\/session\//)
  await sees(main(), 'No endpoint holds a disk right now.')
})

test('an auditor sees images and endpoints and is offered no change', async () => {
  const olaf = await visitors.visit()
  await signInAt(olaf, 'olaf')
  for (const page of ['Images', 'Endpoints']) {
    await olaf.getByRole('navigation').getByRole('link', { name: page, exact: true }).click()
    await sees(olaf.getByRole('main'), page === 'Images' ? image : 'laptop-1')
    const names = await olaf.getByRole('main').getByRole('button').allInnerTexts()
    expect(
      names.filter((name) => /^(Add|Publish|Promote|Change|Roll|Renew|Withdraw|Revoke)\b/.test(name)),
    ).toEqual([])
  }
  await olaf.context().close()
})

test('the pages fit a phone, and no page complained', async () => {
  const phone = await visitors.visit({
    viewport: { width: 390, height: 844 },
    isMobile: true,
    hasTouch: true,
  })
  await signInAt(phone, 'ada')
  for (const [path, shown] of [
    ['/admin/images', 'Who signs'],
    ['/admin/endpoints', 'laptop-1'],
  ] as const) {
    await phone.goto(path)
    await sees(phone.getByRole('main'), shown)
    const [scroll, client] = await phone.evaluate(() => [
      document.documentElement.scrollWidth,
      document.documentElement.clientWidth,
    ])
    expect(scroll, path).toBe(client)
  }
  expect(visitors.complaints).toEqual([])
})

async function goTo(name: string): Promise<void> {
  await ada.getByRole('navigation').getByRole('link', { name, exact: true }).click()
  await ada.getByRole('heading', { level: 1, name }).waitFor()
}

async function run(...words: string[]): Promise<void> {
  expect(await site.cli(words, { login: 'ada' })).toMatchObject({ code: 0, stderr: '' })
}

function sign(what: string, name: string): Promise<void> {
  const passphrase = join(site.state, 'passphrase')
  return run('image', 'sign', what, '--key', keyOf(name), '--passphrase-file', passphrase, '--yes')
}

function keyOf(name: string): string {
  return join(site.state, `${name}.key`)
}

async function register(version: string, disk: Uint8Array): Promise<void> {
  const file = join(site.state, 'disk.raw')
  await writeFile(file, disk)
  await run('image', 'import', file, `${image}:${version}`, '--app', 'writer=/usr/bin/writer')
  await run('image', 'register', `${image}:${version}`)
}
