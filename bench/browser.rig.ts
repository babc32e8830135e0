import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core'
import { passwordOf } from '../interop/running-site.rig.ts'

/** The size of the page, and so of the screens in it. */
export const windowSize = { width: 1280, height: 800 } as const

/** Debian's Chromium, without a window and with nothing that calls home. */
export function launchBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update'],
  })
}

/** A person with a browser of their own. */
export async function openContext(browser: Browser): Promise<BrowserContext> {
  return browser.newContext({ ignoreHTTPSErrors: true, viewport: windowSize })
}

/** Signs in at the console; resolves when the tiles are there. */
export async function signInThere(
  page: Page,
  url: string,
  login: string,
  password = passwordOf(login),
): Promise<void> {
  await page.goto(url)
  await page.getByLabel('User name').fill(login)
  await page.getByLabel('Password').fill(password)
  await page.keyboard.press('Enter')
  await page.getByRole('article').first().waitFor()
}

/** Clicks a tile and waits for its session's first picture. */
export async function openTile(page: Page, name: string): Promise<void> {
  await page
    .getByRole('article', { name })
    .getByRole('button', { name: /^(Open|Reconnect)$/ })
    .click()
  await page.locator('.session-live').waitFor({ timeout: 30_000 })
}
