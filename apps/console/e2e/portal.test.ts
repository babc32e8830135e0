import type { Locator, Page, WebSocketRoute } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { passwordOf, type RunningSite, startSite } from '../../../interop/running-site.rig.ts'
import { sees, signInAt, startVisitors, type Visitors } from './browser.rig.ts'
import { barOf, typeLine, untilBar, untilDrawn, untilLive } from './screen.rig.ts'

let site: RunningSite
let visitors: Visitors
beforeAll(async () => {
  site = await startSite()
  visitors = await startVisitors(site)
})
afterAll(async () => {
  await visitors?.[Symbol.asyncDispose]()
  await site?.[Symbol.asyncDispose]()
})

const lineUnder = (link: Locator) => link.evaluate((it) => getComputedStyle(it).borderBottomColor)
const tileOf = (page: Page, name: string) => page.getByRole('article', { name })

/** A page's connections to gateways: they are lost, and no other can be made, until there is a network again. Call before it makes any. */
async function gatewaysOf(page: Page): Promise<{ lose(): Promise<void>; find(): void }> {
  const open: WebSocketRoute[] = []
  let isLost = false
  await page.routeWebSocket(/\/channel$/, (here) => {
    if (isLost) void here.close()
    else open.push(here, here.connectToServer())
  })
  return {
    lose: async () => {
      isLost = true
      for (const end of open) await end.close()
    },
    find: () => {
      isLost = false
    },
  }
}

test('a wrong password says so, stays on the page and keeps the user name', async () => {
  const page = await visitors.visit()
  await page.goto('/')
  await page.getByLabel('User name').fill('nora')
  await page.getByLabel('Password').fill('not her password')
  await page.getByRole('button', { name: 'Sign in' }).click()
  await sees(page.getByRole('alert'), 'SIGN_IN_REFUSED')
  expect(await page.getByLabel('User name').inputValue()).toBe('nora')
  await page.context().close()
})

test('the keyboard alone leads from the sign-in into a session and back', async () => {
  const page = await visitors.visit()
  await page.goto('/')
  await page.getByLabel('User name').waitFor()
  await page.keyboard.type('nora')
  await page.keyboard.press('Tab')
  await page.keyboard.type(passwordOf('nora'))
  await page.keyboard.press('Enter')
  await tileOf(page, 'Terminal').waitFor()
  await tabTo(page, tileOf(page, 'Terminal').getByRole('button', { name: 'Open' }))
  await page.keyboard.press('Enter')
  await untilLive(page)

  const keys = (line: string) => page.keyboard.type(`${line}\n`, { delay: 5 })
  // The session takes every key but one chord: it brings the controls, Escape gives the keyboard back.
  await untilDrawn(page, 15, () => keys(barOf('3*5')))
  await page.keyboard.press('Control+Alt+Shift+M')
  await page.keyboard.press('Escape')
  await keys(barOf('4*9'))
  await untilBar(page, 36)
  await page.keyboard.press('Control+Alt+Shift+M')
  await tabTo(page, page.getByRole('button', { name: 'Disconnect' }))
  await page.keyboard.press('Enter')
  await tileOf(page, 'Terminal').getByRole('button', { name: 'Reconnect' }).waitFor()
  await page.context().close()
})

test('a session opened in another browser moves there; the first one says so and can bring it back', async () => {
  const [first, second] = await Promise.all([visitors.visit(), visitors.visit()])
  const network = await gatewaysOf(first)
  await signInAt(first, 'carl')
  await tileOf(first, 'Linux desktop').getByRole('button', { name: 'Open' }).click()
  await untilLive(first)
  await untilDrawn(first, 31, () => typeLine(first, barOf('n = 31')))

  await signInAt(second, 'carl')
  await second.getByRole('region', { name: 'Running now' }).getByRole('button', { name: 'Reconnect' }).click()
  await untilLive(second)
  await first.getByRole('heading', { name: 'Opened elsewhere' }).waitFor()
  expect(second.url()).toBe(first.url())
  await typeLine(second, barOf('n'))
  await untilBar(second, 31)

  await first.getByRole('button', { name: 'Bring it back here' }).click()
  await untilLive(first)
  await second.getByRole('heading', { name: 'Opened elsewhere' }).waitFor()

  // Nor does one that comes back from a lost network take it away.
  await network.lose()
  await second.getByRole('button', { name: 'Bring it back here' }).click()
  await untilLive(second)
  await sees(first.locator('.veil'), 'Reconnecting…')
  network.find()
  await first.evaluate(() => dispatchEvent(new Event('online')))
  await first.getByRole('heading', { name: 'Opened elsewhere' }).waitFor()
  await typeLine(second, barOf('n'))
  await untilBar(second, 31)
  for (const page of [first, second]) await page.context().close()
})

test('the keyboard of a phone types each word once, though it tells of it again with every letter', async () => {
  const phone = await visitors.visit({
    viewport: { width: 390, height: 844 },
    isMobile: true,
    hasTouch: true,
  })
  await signInAt(phone, 'nora')
  await tileOf(phone, 'Linux desktop').getByRole('button', { name: 'Open' }).tap()
  await untilLive(phone)
  const handle = phone.getByRole('button', { name: 'Session controls' })
  if ((await handle.getAttribute('aria-expanded')) !== 'true') await handle.tap()
  await phone.getByRole('button', { name: 'Keyboard' }).tap()
  const ime = await phone.context().newCDPSession(phone)
  const compose = async (word: string): Promise<void> => {
    for (let end = 1; end <= word.length; end += 1)
      await ime.send('Input.imeSetComposition', {
        text: word.slice(0, end),
        selectionStart: end,
        selectionEnd: end,
      })
    await phone.keyboard.insertText(word)
  }
  await untilDrawn(phone, 27, async () => {
    await compose('echo')
    await phone.keyboard.insertText(' n=1')
    for (const key of ['Backspace', '2', '7']) await phone.keyboard.press(key)
    await phone.keyboard.insertText(` > n; . ./n; ${barOf('n')}`)
    await phone.keyboard.press('Enter')
  })

  // It covers the lower half: what was touched stays in sight, and the desktop keeps its size.
  const canvas = phone.locator('.screen canvas')
  const sizeOf = () => Promise.all(['width', 'height'].map((name) => canvas.getAttribute(name)))
  const before = await sizeOf()
  const cover = (height: number) =>
    phone.evaluate((height) => {
      Object.defineProperty(visualViewport, 'height', { configurable: true, value: height })
      visualViewport.dispatchEvent(new Event('resize'))
    }, height)
  await canvas.tap({ position: { x: 200, y: 800 } })
  await cover(422)
  const box = await canvas.boundingBox()
  expect(box?.y).toBe(-(844 - 422))
  expect(box?.height).toBe(844)
  await cover(844)
  expect(await canvas.boundingBox()).toMatchObject({ y: 0, height: 844 })
  expect(await sizeOf()).toEqual(before)
  await phone.context().close()
})

test('a letter that is composed of an accent and another key is typed once, and nothing of how it came to be', async () => {
  const page = await visitors.visit()
  await signInAt(page, 'carl')
  await tileOf(page, 'Terminal').getByRole('button', { name: 'Open' }).click()
  await untilLive(page)
  const ime = await page.context().newCDPSession(page)
  const composing = { key: 'Process', windowsVirtualKeyCode: 229 }
  const keys = (line: string) => page.keyboard.type(line, { delay: 5 })
  await untilDrawn(page, 37, async () => {
    await keys('w=')
    for (const [code, text] of [
      ['Quote', '´'],
      ['KeyE', 'é'],
    ] as const) {
      await ime.send('Input.dispatchKeyEvent', { type: 'rawKeyDown', code, ...composing })
      await ime.send('Input.imeSetComposition', { text, selectionStart: 1, selectionEnd: 1 })
    }
    await ime.send('Input.insertText', { text: 'é' })
    await keys(`; [ "$w" = "$(printf '\\303\\251')" ] && ${barOf('37')}\n`)
  })
  await page.context().close()
})

test('a published application fills the session and nothing else is there', async () => {
  const page = await visitors.visit({ viewport: { width: 1000, height: 700 } })
  await signInAt(page, 'nora')
  await tileOf(page, 'Editor').getByRole('button', { name: 'Open' }).click()
  await untilLive(page)
  await page.locator('.screen canvas').click({ position: { x: 500, y: 400 } })
  await page.keyboard.type('Rounds at nine', { delay: 5 })
  await page.waitForFunction(isPageWithText)
  await page.context().close()
})

test('whoever has one workspace only is in it right after signing in, and finds the way back to the portal', async () => {
  const admin = await site.signIn('ada')
  const only = { login: 'ida', name: 'Ida Voss', password: 'marble-orchard-77', groups: ['kiosk'] }
  await admin.send('POST', '/admin/people', only, z.unknown())
  const policy = await admin.get('/admin/policy', z.object({ text: z.string() }))
  const kiosk = `
@id("kiosk-works")
permit (
  principal in Group::"kiosk",
  action in [Action::"hosted-shared", Action::"input"],
  resource == Workspace::"terminal"
);
`
  await admin.send('PUT', '/admin/policy', { text: policy.text + kiosk }, z.unknown())
  const page = await visitors.visit()
  await signInAt(page, only.login, only.password)
  await page.waitForURL(/\/session\//)
  await untilLive(page)
  await page.goBack()
  await tileOf(page, 'Terminal').getByRole('button', { name: 'Reconnect' }).waitFor()
  expect(await page.getByRole('article').count()).toBe(1)
  await page.context().close()
})

test('what runs and may not be come back to as things are now offers no way there, and can be ended', async () => {
  const admin = await site.signIn('ada')
  const { text } = await admin.get('/admin/policy', z.object({ text: z.string() }))
  const page = await visitors.visit()
  await signInAt(page, 'nora')
  await tileOf(page, 'Terminal')
    .getByRole('button', { name: /Open|Reconnect/ })
    .click()
  await untilLive(page)
  await page.goto('/')
  await page.getByRole('button', { name: 'Nora Lind' }).click()
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.waitForURL(/\/sign-in/)
  // Nobody is signed in: it is frozen and lives on.
  const closed = `
@id("terminal-closed")
@reason("The terminal is closed")
forbid (principal, action, resource == Workspace::"terminal");
`
  await admin.send('PUT', '/admin/policy', { text: text + closed }, z.unknown())
  await signInAt(page, 'nora')
  const running = page.getByRole('listitem', { name: 'Terminal' })
  await sees(running, /not permitted from here now/)
  await sees(tileOf(page, 'Terminal'), 'The terminal is closed.')
  expect(await running.getByRole('button').allInnerTexts()).toEqual(['End'])
  expect(await tileOf(page, 'Terminal').getByRole('button').allInnerTexts()).toEqual(['Why?'])
  await running.getByRole('button', { name: 'End' }).click()
  await page.getByRole('button', { name: 'End session' }).click()
  await running.waitFor({ state: 'detached' })
  await admin.send('PUT', '/admin/policy', { text }, z.unknown())
  await page.context().close()
})

test('signing out ends the visit: neither the way back nor the cookie opens anything', async () => {
  const page = await visitors.visit()
  await signInAt(page, 'nora')
  await tileOf(page, 'Linux desktop').waitFor()
  const cookies = await page.context().cookies()
  await page.getByRole('button', { name: 'Nora Lind' }).click()
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.waitForURL(/\/sign-in/)
  await page.goto('/')
  await page.waitForURL(/\/sign-in/)
  await page.context().addCookies(cookies)
  await page.goto('/')
  await page.waitForURL(/\/sign-in/)
  await page.context().close()
})

test.each([
  ['light on a phone', { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true }],
  ['dark on a small window', { viewport: { width: 640, height: 480 }, colorScheme: 'dark' as const }],
])(
  'every page fits its window, its headings are in order, and the keyboard is seen: %s',
  async (_, options) => {
    const page = await visitors.visit(options)
    await page.goto('/sign-in')
    await page.getByLabel('User name').waitFor()
    expect(await overhang(page)).toBeLessThanOrEqual(0)
    await signInAt(page, 'ada')
    await page.getByRole('article').first().waitFor()
    for (const button of await page.getByRole('button', { name: 'Why?' }).all()) await button.click()
    expect(await overhang(page)).toBeLessThanOrEqual(0)
    await expectOutline(page)
    await expectFocusSeen(page)
    for (const name of ['sessions', 'hosts', 'decisions', 'workspaces', 'people', 'policy']) {
      await page.goto(`/admin/${name}`)
      await page.locator('main :is(table, .card, .empty, .decision, .editor)').first().waitFor()
      expect(await overhang(page), name).toBeLessThanOrEqual(0)
      await expectOutline(page)
    }
    await page.emulateMedia({ forcedColors: 'active' })
    const here = page.locator('nav a[aria-current]')
    expect(await lineUnder(here)).not.toBe(await lineUnder(page.locator('nav a:not([aria-current])').first()))
    await page.goto('/nowhere')
    await page.getByRole('heading', { level: 1, name: 'There is no such page' }).waitFor()
    expect(await page.title()).toBe('Not found · Trustcast')
    await page.context().close()
  },
)

test('no page complained about anything', () => {
  expect(visitors.complaints).toEqual([])
})

/** Presses Tab until the focus is there, as often as a patient person would. */
async function tabTo(page: Page, goal: ReturnType<Page['getByRole']>): Promise<void> {
  for (let presses = 0; presses < 40; presses += 1) {
    if (await goal.evaluate((element) => element === document.activeElement)) return
    await page.keyboard.press('Tab')
  }
  throw new Error('the Tab key never reached it')
}

/** One first heading, and none that skips a level: screen readers go by them. */
async function expectOutline(page: Page): Promise<void> {
  const names = await page
    .locator('h1, h2, h3, h4')
    .evaluateAll((all: readonly { readonly tagName: string }[]) => all.map(({ tagName }) => tagName))
  const levels = names.map((name) => Number(name.slice(1)))
  expect(levels.filter((level) => level === 1)).toHaveLength(1)
  const skips = levels.filter((level, at) => level > (levels[at - 1] ?? 0) + 1)
  expect(skips, `${page.url()}: ${levels.join(' ')}`).toEqual([])
}

/** What is under the header comes out from there when the keyboard goes back to it. */
async function expectFocusSeen(page: Page): Promise<void> {
  const before = page.viewportSize()
  await page.setViewportSize({ width: 640, height: 600 })
  const folds = page.getByRole('button', { name: 'Why?' })
  const top = async () => (await folds.first().boundingBox())?.y ?? 0
  await folds.first().focus()
  await page.keyboard.press('Tab')
  await page.mouse.move(300, 300)
  await page.mouse.wheel(0, (await top()) - 10)
  await expect.poll(top).toBeLessThan(12)
  await page.keyboard.press('Shift+Tab')
  const header = await page.getByRole('banner').boundingBox()
  await expect.poll(top).toBeGreaterThanOrEqual((header?.y ?? 0) + (header?.height ?? 0))
  if (before !== null) await page.setViewportSize(before)
}

/** Pixels by which the page is wider than its window. */
async function overhang(page: Page): Promise<number> {
  return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
}

/** Runs in the page: an application fills the screen when all four corners belong to it and its page is light, with dark text. */
function isPageWithText(): boolean {
  const canvas = document.querySelector('.screen canvas')
  const context = canvas?.getContext('2d')
  if (canvas === null || context === null || context === undefined) return false
  const { width, height } = canvas
  const light = (x: number, y: number): boolean =>
    context.getImageData(x, y, 1, 1).data.every((part) => part > 200)
  const text = context.getImageData(0, 0, width, Math.round(height / 5)).data
  let dark = 0
  for (let at = 0; at < text.length; at += 4) if ((text[at] ?? 255) < 90) dark += 1
  return [8, width - 8].every((x) => light(x, height - 60)) && light(width / 2, height / 2) && dark > 150
}
