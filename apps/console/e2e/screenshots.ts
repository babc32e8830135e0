import { mkdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { BrowserContextOptions, Page } from 'playwright-core'
import { startSite } from '../../../interop/running-site.rig.ts'
import { signInAt, startVisitors, type Visitors } from './browser.rig.ts'
import { openPanel, typeLine, untilLive } from './screen.rig.ts'

/** Takes the pictures of the README anew: `scripts/run node apps/console/e2e/screenshots.ts`. */

const folder = join(import.meta.dirname, '../../../docs/images')
const maxBytes = 200 * 1024
const phoneScreen: BrowserContextOptions = {
  viewport: { width: 390, height: 844 },
  isMobile: true,
  hasTouch: true,
}

await mkdir(folder, { recursive: true })
await using site = await startSite()
await using visitors = await startVisitors(site)
await portal(visitors)
await session(visitors)
await phone(visitors)
await decisions(visitors)

async function portal(visitors: Visitors): Promise<void> {
  const page = await visitors.visit()
  await signInAt(page, 'nora')
  await page.getByRole('article').first().waitFor()
  await take(page, 'portal')
  await openDesktop(page)
  await page.context().close()
}

/** A contractor's: it shows most of what policy does. */
async function session(visitors: Visitors): Promise<void> {
  const page = await visitors.visit()
  await signInAt(page, 'carl')
  await openDesktop(page)
  await typeLine(page, "PS1='$ '; clear")
  await typeLine(page, 'echo $((6 * 7))')
  await typeLine(page, 'stat -c "%A  %U" ~')
  await openPanel(page, 'Restrictions')
  await take(page, 'session')
  await page.context().close()
}

async function phone(visitors: Visitors): Promise<void> {
  const page = await visitors.visit({ ...phoneScreen, colorScheme: 'dark' })
  await signInAt(page, 'carl')
  await page.getByRole('article').first().waitFor()
  await take(page, 'portal-phone')
}

async function decisions(visitors: Visitors): Promise<void> {
  const page = await visitors.visit({ colorScheme: 'dark' })
  await signInAt(page, 'olaf')
  await page.goto('/admin/decisions')
  await page.locator('.decision-head', { hasText: 'Nora Lind' }).click()
  await take(page, 'decisions')
}

async function openDesktop(page: Page): Promise<void> {
  await page.getByRole('article', { name: 'Linux desktop' }).getByRole('button', { name: 'Open' }).click()
  await untilLive(page)
}

async function take(page: Page, name: string): Promise<void> {
  // Whatever still moves comes to rest.
  await page.waitForTimeout(1000)
  const path = join(folder, `${name}.png`)
  await page.screenshot({ path })
  const { size } = await stat(path)
  if (size > maxBytes) throw new Error(`${path} has ${size} bytes, expected ${maxBytes} at most`)
}
