import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { BrowserContext, Page } from 'playwright-core'
import { folderOf, loadStates } from '#adapters/display-xvnc/state.ts'
import { type RunningSite, startSite, until } from '../interop/running-site.rig.ts'
import { launchBrowser, openContext, openTile, signInThere } from './browser.rig.ts'
import { median, method, quantile, report } from './report.ts'

/** From a key to its pixels in a terminal: through gateway and channel, against noVNC through websockify to the same display. */

const pairs = 4
const keysPerBlock = 20
const keysBefore = 4
const novnc = join(import.meta.dirname, '../node_modules/@novnc/novnc')
/** noVNC as the console sets it up. */
const viewerHtml = `<!doctype html>
<body style="margin:0"><div id="screen" style="width:100vw;height:100vh"></div>
<script type="module">
  import RFB from '/core/rfb.js'
  const viewer = new RFB(document.getElementById('screen'), \`ws://\${location.host}/\`, { shared: true })
  viewer.scaleViewport = true
  viewer.resizeSession = true
</script>`
const peer = 'noVNC and websockify'

method(
  `A terminal of the demo in one Chromium, the same Xvnc for both and one viewer at a time, ${pairs} blocks of ` +
    `${keysPerBlock} keys each in turn; keydown, seen before the viewer sees it, starts the clock, the first change of ` +
    'the pixels around the prompt stops it. websockify has no TLS and no policy; nora works freely, carl under a watermark.',
)
await using site = await startSite({ args: ['--hosts', '1', '--gateways', '1', '--warm', '1'] })
const browser = await launchBrowser()
try {
  for (const [login, goal] of [
    ['nora', { of: 'difference', atMost: 10 }],
    ['carl', undefined],
  ] as const) {
    const { ours, theirs } = await measure(await openContext(browser), site, login)
    const name = login === 'nora' ? 'key-to-pixel' : 'key-to-pixel.watermark'
    report(`${name}.p50`, median(ours), 'ms', { peer: [peer, median(theirs)], ...(goal && { goal }) })
    report(`${name}.p90`, quantile(ours, 0.9), 'ms', { peer: [peer, quantile(theirs, 0.9)] })
  }
} finally {
  await browser.close()
}

async function measure(
  context: BrowserContext,
  site: RunningSite,
  login: string,
): Promise<{ readonly ours: readonly number[]; readonly theirs: readonly number[] }> {
  const page = await context.newPage()
  await signInThere(page, site.url, login)
  await openTile(page, 'Terminal')
  const session = page.url()
  await using relay = await startWebsockify(await socketOf(site, session.split('/').at(-1) ?? ''))
  const ours: number[] = []
  const theirs: number[] = []
  for (let pair = 0; pair < pairs; pair++) {
    const blocks = [
      async () => ours.push(...(await measureOurs(page, session))),
      async () => theirs.push(...(await measureTheirs(page, relay.url))),
    ]
    for (const block of pair % 2 === 0 ? blocks : blocks.toReversed()) await block()
  }
  await context.close()
  return { ours, theirs }
}

async function measureOurs(page: Page, session: string): Promise<readonly number[]> {
  await page.goto(session)
  await page.locator('.session-live').waitFor()
  return typeKeys(page, '.screen canvas')
}

async function measureTheirs(page: Page, url: string): Promise<readonly number[]> {
  await page.goto(url)
  await page.locator('canvas').waitFor()
  return typeKeys(page, 'canvas')
}

/** Leaves the page at the end, so that the other viewer is alone on the display. */
async function typeKeys(page: Page, selector: string): Promise<readonly number[]> {
  // The screen takes the size of the page, and becomes lossless by itself a while after.
  await sleep(2500)
  const canvas = page.locator(selector)
  await canvas.focus()
  // A prompt at the top of an empty screen.
  await page.keyboard.press('Control+u')
  await page.keyboard.press('Control+l')
  await sleep(800)
  await canvas.evaluate(watchKeys)
  for (let key = 0; key < keysBefore + keysPerBlock; key++) {
    await page.keyboard.press('abcdefghij'[key % 10] ?? 'a')
    await sleep(180 + ((key * 37) % 61))
  }
  const times = await canvas.evaluate((watched: WatchedCanvas) => watched.keyTimes ?? [])
  await page.goto('about:blank')
  if (times.length !== keysBefore + keysPerBlock) throw new Error(`${times.length} keys changed the picture`)
  return times.slice(keysBefore)
}

/** What a page's canvas has that is used here. */
interface WatchedCanvas {
  readonly ownerDocument: { addEventListener(type: string, listener: () => void, capture: boolean): void }
  getContext(kind: '2d'): {
    getImageData(x: number, y: number, width: number, height: number): { readonly data: Uint8ClampedArray }
  }
  keyTimes?: number[]
}

/** Runs in the page. */
function watchKeys(canvas: WatchedCanvas): void {
  const context = canvas.getContext('2d')
  const times: number[] = []
  Object.assign(canvas, { keyTimes: times })
  const look = (): number => {
    const words = new Uint32Array(context.getImageData(0, 0, 800, 30).data.buffer)
    let hash = 0
    for (const word of words) hash = (Math.imul(hash, 31) + word) | 0
    return hash
  }
  const { port1, port2 } = new MessageChannel()
  let startedAt = 0
  let before = 0
  const again = (): void => {
    if (look() !== before) times.push(performance.now() - startedAt)
    else if (performance.now() - startedAt < 2000) port2.postMessage(0)
  }
  Object.assign(port1, { onmessage: again })
  const start = (): void => {
    startedAt = performance.now()
    before = look()
    port2.postMessage(0)
  }
  canvas.ownerDocument.addEventListener('keydown', start, true)
}

/** The RFB socket of a session's display. */
async function socketOf(site: RunningSite, sessionId: string): Promise<string> {
  const runDir = join(site.state, 'run/host-1')
  for (const { id, state } of await loadStates(runDir))
    if (state?.request?.sessionId === sessionId) return folderOf(runDir, id).socket
  throw new Error(`no display of session ${sessionId}`)
}

/** Serves noVNC and, from the same port, the way to a display. */
async function startWebsockify(socket: string): Promise<{ readonly url: string } & AsyncDisposable> {
  const web = await mkdtemp(join(tmpdir(), 'tc-bench-'))
  for (const folder of ['core', 'vendor']) await symlink(join(novnc, folder), join(web, folder))
  await writeFile(join(web, 'index.html'), viewerHtml)
  const port = await freePort()
  const args = ['--web', web, '--unix-target', socket, `127.0.0.1:${port}`]
  const child = spawn('websockify', args, { stdio: 'ignore' })
  const url = `http://127.0.0.1:${port}/`
  await until(async () => fetch(url).then(Boolean, () => false), 'websockify listens')
  return {
    url,
    async [Symbol.asyncDispose]() {
      const exited = once(child, 'exit')
      child.kill('SIGTERM')
      await exited
      await rm(web, { recursive: true })
    },
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}
