import { createHash, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  type Browser,
  type BrowserContext,
  type BrowserContextOptions,
  chromium,
  type Locator,
  type Page,
} from 'playwright-core'
import { passwordOf, type RunningSite } from '../../../interop/running-site.rig.ts'

/** People at their browsers. Everything that a page complains about is kept, for the test to expect nothing of it. */
export interface Visitors extends AsyncDisposable {
  /** A new browser of somebody: nothing is shared with the others. */
  visit(options?: BrowserContextOptions): Promise<Page>
  /** Complaints of all pages so far: errors on the console, uncaught ones, violations of the content security policy. */
  readonly complaints: readonly string[]
}

const chromiumPath = join(import.meta.dirname, 'undisturbed-chromium')
const quiet = [
  'disable-gpu',
  'disable-background-networking',
  'disable-quic',
  'no-first-run',
  'disable-component-update',
]

/** Starts Debian's Chromium, trusting the site's own authority and nobody's else. */
export async function startVisitors(site: RunningSite): Promise<Visitors> {
  const trust = `--ignore-certificate-errors-spki-list=${await authorityPins(site)}`
  const browser = await chromium.launch({
    executablePath: chromiumPath,
    // Chromium's own sandbox does not work as root, and everything it is shown is ours.
    args: ['--no-sandbox', ...quiet.map((word) => `--${word}`), trust],
  })
  const complaints: string[] = []
  return {
    complaints,
    visit: (options) => visit(browser, site, complaints, options),
    [Symbol.asyncDispose]: () => browser.close(),
  }
}

/** Fills in the form, as a person who was sent to it. */
export async function signInAt(page: Page, login: string, password = passwordOf(login)): Promise<void> {
  await page.goto('/')
  await page.getByLabel('User name').fill(login)
  await page.getByLabel('Password').fill(password)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.waitForURL((url) => url.pathname !== '/sign-in')
}

/** Waits until a text is there for the eye. */
export async function sees(where: Locator, text: string | RegExp): Promise<void> {
  await where.getByText(text).filter({ visible: true }).first().waitFor()
}

async function visit(
  browser: Browser,
  site: RunningSite,
  complaints: string[],
  options: BrowserContextOptions = {},
): Promise<Page> {
  const context = await browser.newContext({
    baseURL: site.url,
    viewport: { width: 1280, height: 800 },
    ...options,
  })
  context.setDefaultTimeout(20_000)
  await reportViolations(context)
  const page = await context.newPage()
  const goto = page.goto.bind(page)
  page.goto = async (...asked) => {
    await page.waitForFunction(isAtRest)
    return goto(...asked)
  }
  page.on('pageerror', (error) => complaints.push(`${page.url()}: ${error.message}`))
  page.on('console', (message) => {
    if (message.type() === 'error' && !isAnswer(message.text()))
      complaints.push(`${page.url()}: ${message.text()}`)
  })
  return page
}

/** A dialog that was closed takes its entry of the history away a moment later, quicker than people but not than tests go elsewhere. */
function isAtRest(): boolean {
  return history.state !== 'layer' || document.querySelector('dialog[open]') !== null
}

/** Chromium logs each refused request and each lost connection as an error, though the page handles them. */
function isAnswer(text: string): boolean {
  return /^Failed to load resource:|^WebSocket connection to /.test(text)
}

/** Violations in workers or of styles do not always reach the console. */
async function reportViolations(context: BrowserContext): Promise<void> {
  await context.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) =>
      console.error(`content security policy: ${violatedDirective} ${blockedURI}`),
    )
  })
}

async function authorityPins({ state }: RunningSite): Promise<string> {
  const files = ['root.pem', 'intermediate.pem'].map((name) => readFile(join(state, 'pki', name)))
  return (await Promise.all(files))
    .map((pem) => new X509Certificate(pem).publicKey.export({ type: 'spki', format: 'der' }))
    .map((key) => createHash('sha256').update(key).digest('base64'))
    .join(',')
}
