import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Browser } from 'playwright-core'
import { z } from 'zod'
import { hostView, personView } from '#core/api/admin.ts'
import { sessionView } from '#core/api/person.ts'
import { type RunningSite, type SignedInClient, startSite, until } from '../interop/running-site.rig.ts'
import { launchBrowser, openContext, openTile, signInThere } from './browser.rig.ts'
import { median, method, report } from './report.ts'

/** From a click on a tile to the first pixel of its session, on the demo site. */

const launches = 7
const tiles = ['Linux desktop', 'Terminal'] as const
/** Time for the machine to become quiet after a sign-in or a start. */
const quietMs = 1500

method(
  `The demo in Chromium, from the mark the console sets at the click to the one at the first drawn pixel, ${launches} ` +
    'launches each; warm: a display server stands ready and the person has been here before; cold: none stands ready ' +
    'and the person is new, so that the account is made as well.',
)
const browser = await launchBrowser()
try {
  await measureAll('warm', 1, 1000)
  await measureAll('cold', 0, 3000)
} finally {
  await browser.close()
}

async function measureAll(kind: 'warm' | 'cold', warm: number, goalMs: number): Promise<void> {
  await using site = await startSite({ args: ['--hosts', '1', '--gateways', '1', '--warm', String(warm)] })
  const admin = await site.signIn('ada')
  for (const tile of tiles) {
    const person = kind === 'warm' ? await createPerson(admin) : undefined
    // Makes the account.
    if (person !== undefined) await launch(browser, site, admin, person, tile)
    const times: number[] = []
    for (let count = 0; count < launches; count++) {
      await until(async () => (await warmDisplays(admin)) === warm, `${warm} displays stand ready`)
      times.push(await launch(browser, site, admin, person ?? (await createPerson(admin)), tile))
    }
    const name = `click-to-pixel.${kind}.${tile === 'Terminal' ? 'application' : 'desktop'}`
    report(`${name}.median`, median(times), 'ms', { goal: { of: 'value', atMost: goalMs } })
    report(`${name}.worst`, Math.max(...times), 'ms')
  }
}

interface Person {
  readonly login: string
  readonly password: string
}

/** One launch in a browser of its own, ended afterwards; ms. */
async function launch(
  browser: Browser,
  site: RunningSite,
  admin: SignedInClient,
  { login, password }: Person,
  tile: string,
): Promise<number> {
  const context = await openContext(browser)
  const page = await context.newPage()
  await signInThere(page, site.url, login, password)
  await sleep(quietMs)
  await openTile(page, tile)
  const [from, to] = await page.evaluate(() =>
    ['launch-click', 'first-pixel'].map((name) => performance.getEntriesByName(name)[0]?.startTime),
  )
  const id = page.url().split('/').at(-1) ?? ''
  await context.close()
  await admin.send('DELETE', `/sessions/${id}`, undefined, sessionView)
  await until(
    async () => (await admin.get(`/sessions/${id}`, sessionView)).state === 'ended',
    'the session ended',
  )
  if (from === undefined || to === undefined) throw new Error('the console set no marks')
  return to - from
}

async function createPerson(admin: SignedInClient): Promise<Person> {
  const [login, password] = [`p${randomUUID().slice(0, 8)}`, randomUUID()]
  await admin.send(
    'POST',
    '/admin/people',
    { login, name: login, password, groups: ['employees'] },
    personView,
  )
  return { login, password }
}

async function warmDisplays(admin: SignedInClient): Promise<number> {
  const { hosts } = await admin.get('/admin/hosts', z.object({ hosts: z.array(hostView) }))
  return hosts.reduce((sum, { warm }) => sum + warm, 0)
}
