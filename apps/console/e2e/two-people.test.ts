import { cp, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { demoZones } from '#apps/up/demo.ts'
import { personView } from '#core/api/admin.ts'
import {
  passwordOf,
  type RunningSite,
  type SignedInClient,
  startSite,
  until,
} from '../../../interop/running-site.rig.ts'
import { sees, signInAt, startVisitors, type Visitors } from './browser.rig.ts'
import {
  barOf,
  openPanel,
  rememberPicture,
  typeLine,
  untilBar,
  untilDiffers,
  untilDrawn,
  untilLive,
} from './screen.rig.ts'

/** One story, told in order: each chapter goes on where the one before ended. */

let site: RunningSite
let visitors: Visitors
let admin: SignedInClient
let nora: Page
let copies: string
const brought = 'Øst 3, Łódź, ward №7'
/** Addresses of the gateways that nora's browser was connected to, in order. */
const gateways: string[] = []

beforeAll(async () => {
  site = await startSite()
  visitors = await startVisitors(site)
  admin = await site.signIn('ada')
  nora = await visitors.visit({ permissions: ['clipboard-read', 'clipboard-write'] })
  nora.on('websocket', (socket) => gateways.push(new URL(socket.url()).port))
  copies = await mkdtemp(join(tmpdir(), 'trustcast-audit-'))
})
afterAll(async () => {
  await visitors?.[Symbol.asyncDispose]()
  await site?.[Symbol.asyncDispose]()
  await rm(copies, { recursive: true, force: true })
})

const tileOf = (page: Page) => page.getByRole('article', { name: 'Linux desktop' })

const farewellOf = (page: Page) => page.getByRole('complementary', { name: 'The session is about to end' })

async function setGroups(login: string, groups: readonly string[]): Promise<void> {
  const { people } = await admin.get('/admin/people', z.object({ people: z.array(personView) }))
  const { id } = people.find((person) => person.login === login)!
  await admin.send('PATCH', `/admin/people/${id}`, { groups }, z.unknown())
}

async function homeOf(login: string): Promise<string> {
  const homes = await readdir(join(site.state, 'homes'))
  return join(site.state, 'homes', homes.find((name) => name.startsWith(`tc-${login}-`))!)
}

test('two people of different trust are offered the same workspace on different terms, each with reasons and ways out', async () => {
  const carl = await visitors.visit()
  await Promise.all([signInAt(nora, 'nora'), signInAt(carl, 'carl')])
  for (const page of [nora, carl]) await sees(tileOf(page), 'Runs in the data centre, on a shared host')

  expect(await tileOf(nora).getByRole('list', { name: 'Restrictions' }).count()).toBe(0)
  const hers = tileOf(nora)
  await hers.getByRole('button', { name: 'Why?' }).click()
  await sees(hers, 'employee-hosted-inside')
  const wayOut = hers.getByRole('list', { name: 'What would unlock it' }).first()
  expect(await wayOut.innerText()).toMatch(/Use a device that your organisation manages/)

  const his = tileOf(carl)
  expect(await his.getByRole('list', { name: 'Restrictions' }).innerText()).toMatch(
    /Copying out is off\s+Watermark/,
  )
  await his.getByRole('button', { name: 'Why?' }).click()
  await sees(his, 'contractor-hosted-inside')
  await sees(his, 'Contractors may not copy anything out.')
  await carl.context().close()
})

test('what is typed into the terminal of a hosted desktop comes back on the screen', async () => {
  await nora.evaluate((text) => navigator.clipboard.writeText(text), brought)
  await tileOf(nora).getByRole('button', { name: 'Open' }).click()
  await untilLive(nora)
  // The bar needs what is typed first: a line whose beginning was lost draws another one.
  await untilDrawn(nora, 42, () =>
    typeLine(nora, `kept=3; echo $((14*kept)) > ~/answer; ${barOf('14*kept')}`),
  )
  expect(await readFile(join(await homeOf('nora'), 'answer'), 'utf8')).toBe('42\n')
})

test('what the person had copied before is on the session’s clipboard, and what is copied there arrives on theirs', async () => {
  await typeLine(nora, `xclip -o -selection clipboard > ~/brought; ${barOf('15+2')}`)
  await untilBar(nora, 17)
  expect(await readFile(join(await homeOf('nora'), 'brought'), 'utf8')).toBe(brought)
  await typeLine(nora, 'printf "ward list" | xclip -selection clipboard')
  await openPanel(nora, 'Clipboard')
  const received = nora.getByLabel('From the session')
  await until(async () => (await received.inputValue()) === 'ward list', 'the copied text arrives')
  await until(async () => (await localClipboard()) === 'ward list', 'it is on the browser’s own clipboard')
})

test('a change of her group cuts her clipboard live and watermarks the picture; the session goes on', async () => {
  const session = nora.url()
  const before = await rememberPicture(nora)
  await setGroups('nora', ['contractors'])
  await sees(nora.locator('.toasts'), 'Copying out was turned off: Contractors may not copy anything out.')
  await untilDiffers(nora, before, 2_000)

  await typeLine(nora, `printf "not for outside" | xclip -selection clipboard; ${barOf('20+3')}`)
  await untilBar(nora, 23)
  expect(await localClipboard()).toBe('ward list')
  await openPanel(nora, 'Clipboard')
  await sees(
    nora.getByRole('region', { name: 'Clipboard' }),
    'Copying out is off: Contractors may not copy anything out.',
  )
  expect(nora.url()).toBe(session)
})

test('her gateway is killed: she sees that the session reconnects, and it goes on', async () => {
  const session = nora.url()
  const phases = await watchPhases(nora)
  // The ports of people at the gateways are the third and the fifth of the site's.
  const used = (Number(gateways.at(-1)) - site.port) / 2
  const connections = gateways.length
  for (const pid of await site.pidsOf(`gateway-${used}`)) process.kill(pid, 'SIGKILL')
  await until(() => gateways.length > connections, 'the browser finds another gateway')
  await until(async () => (await phases()).join(' ').endsWith('interrupted live'), 'the session goes on')

  await typeLine(nora, barOf('kept * 10 + 4'))
  await untilBar(nora, 34)
  expect(nora.url()).toBe(session)
})

test('when her network turns hostile she sees why and what would unlock it, and works on when it is well again', async () => {
  await setOffice('hostile')
  await farewellOf(nora).waitFor()
  expect(await farewellOf(nora).getByRole('alert').innerText()).toMatch(/This session ends soon\. .+/)
  expect(await farewellOf(nora).getByRole('list', { name: 'What would unlock it' }).innerText()).toMatch(
    /network/,
  )
  await setOffice('inside')
  await farewellOf(nora).waitFor({ state: 'hidden' })
  await typeLine(nora, barOf('2*8'))
  await untilBar(nora, 16)
})

test('without her groups nothing is permitted: she sees why, then the session ends with all its programs', async () => {
  await setGroups('nora', [])
  await farewellOf(nora).waitFor()
  expect(await farewellOf(nora).getByRole('alert').innerText()).toMatch(/This session ends soon\. .+/)

  await nora.getByRole('heading', { name: 'Linux desktop has ended' }).waitFor({ timeout: 40_000 })
  const { uid } = await stat(await homeOf('nora'))
  await until(async () => !(await uidsOfProcesses()).includes(uid), 'nothing of hers runs any more')
  await nora.getByRole('link', { name: 'Back to workspaces' }).click()
  await nora.getByRole('heading', { name: 'No workspace is meant for you yet' }).waitFor()
})

test('the audit log of it all verifies, and a copy with one byte changed names its entry', async () => {
  const as = { login: 'ada' }
  const stranger = await site.cli(['login', site.url, '--user', 'ada'], { ...as, input: 'x\n' })
  const trust = /--trust ([0-9a-f]{64})/.exec(stranger.stderr)?.[1] ?? ''
  await site.cli(['login', site.url, '--user', 'ada', '--trust', trust], {
    ...as,
    input: `${passwordOf('ada')}\n`,
  })

  const whole = join(copies, 'whole')
  const exported = await site.cli(['audit', 'export', whole, '--json'], as)
  const { key } = JSON.parse(exported.stdout) as { key: string }
  const verify = (dir: string) => site.cli(['audit', 'verify', dir, '--key', key, '--json'])
  expect(JSON.parse((await verify(whole)).stdout)).toMatchObject({ ok: true })

  const changed = join(copies, 'changed')
  await cp(whole, changed, { recursive: true })
  const index = await turnOneByte(changed, '"groups":["contractors"]')
  const verdict = await verify(changed)
  expect(verdict.code).toBe(1)
  expect(JSON.parse(verdict.stdout)).toMatchObject({ ok: false, index: String(index) })
})

test('no page complained about anything', () => {
  expect(visitors.complaints).toEqual([])
})

/** Calls the network that everybody here is on inside, or hostile. */
async function setOffice(kind: 'inside' | 'hostile'): Promise<void> {
  const zones = demoZones.map((zone) => (zone.name === 'office' ? { ...zone, kind } : zone))
  await admin.send('PUT', '/admin/zones', { zones }, z.unknown())
}

async function uidsOfProcesses(): Promise<readonly number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  return Promise.all(
    pids.map((pid) =>
      stat(`/proc/${pid}`).then(
        ({ uid }) => uid,
        () => -1,
      ),
    ),
  )
}

async function localClipboard(): Promise<string> {
  return nora.evaluate(() => navigator.clipboard.readText())
}

/** Every phase that the session page goes through from now on, however short. */
async function watchPhases(page: Page): Promise<() => Promise<string[]>> {
  const phases = await page.evaluateHandle(() => {
    const seen: string[] = []
    const veil = document.querySelector('.veil')
    const look = (): void => void seen.push(veil?.getAttribute('data-phase') ?? '')
    if (veil !== null)
      new MutationObserver(look).observe(veil, { attributes: true, attributeFilter: ['data-phase'] })
    return seen
  })
  return () => phases.jsonValue()
}

/** Changes one letter of the first entry that holds `text` in a copy of the log. Returns the entry's index. */
async function turnOneByte(dir: string, text: string): Promise<number> {
  const entries = join(dir, 'tile/entries')
  const found = await readdir(entries, { recursive: true, withFileTypes: true })
  const [path = ''] = found.filter((one) => one.isFile()).map((one) => join(one.parentPath, one.name))
  const bytes = await readFile(path)
  const at = bytes.indexOf(text)
  expect(at).toBeGreaterThan(0)
  let index = 0
  for (let start = 0; ; index += 1) {
    const next = start + 2 + bytes.readUInt16BE(start)
    if (next > at) break
    start = next
  }
  bytes[at + text.length - 3]! ^= 1
  await writeFile(path, bytes)
  return index
}
