import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Browser, chromium, type Locator, type Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { type ClamdRig, makeClamd } from '#adapters/evidence-linux/clamd.rig.ts'
import { type SoftwareTpm, startSoftwareTpm } from '#adapters/tpm/swtpm.rig.ts'
import { tokenAnswer } from '#core/api/admin.ts'
import { endpointClaimsAnswer } from '#core/api/evidence.ts'
import { devicePort } from '#core/handoff/index.ts'
import { startInterceptingProxy } from '../../../interop/intercepting-proxy.rig.ts'
import { createLan, end, type Lan, type NetworkNamespace } from '../../../interop/network-namespace.rig.ts'
import { diskWorkspace, type ImageForTest, publishForTest } from '../../../interop/published-release.rig.ts'
import { startDnsmasq } from '../../../interop/rogue-dhcp.rig.ts'
import {
  passwordOf,
  pidsMatching,
  type RunningSite,
  type SignedInClient,
  startSite,
  until,
} from '../../../interop/running-site.rig.ts'
import { importTinyVm, marker } from '../../../interop/tiny-guest.rig.ts'
import { sees, signInAt, startVisitors, type Visitors } from './browser.rig.ts'
import { rememberPicture, untilDiffers, untilLive } from './screen.rig.ts'

/**
 * One device and all that can happen to its trust, with real parts: network namespaces, a software TPM, clamd, QEMU, Chromium. It is well and
 * in the house, and gets a local VM; its antivirus stops and starts; it is behind a proxy that opens connections, beside a second DHCP server,
 * and elsewhere; it is stolen. An auditor looks on.
 */
vi.setConfig({ testTimeout: 180_000, hookTimeout: 300_000 })

const run = promisify(execFile)
const trustcast = join(import.meta.dirname, '../../../trustcast')
const policy = `
@id("vm-on-healthy-devices-inside")
@overlay("keep")
@leaseMinutes("60")
permit (principal in Group::"employees", action == Action::"local-vm", resource)
when {
  context.network.zone.value == "inside" &&
  context.endpoint.management.value == "managed" &&
  context.endpoint.reporting.value == "current" &&
  context.endpoint.deviceKey.value == "tpm" &&
  context.endpoint.antivirus.value != "off"
};

@id("hosted")
permit (principal in Group::"employees", action == Action::"hosted-shared", resource);

@id("works")
permit (principal, action in [Action::"input", Action::"clipboard-in"], resource);

@id("no-interception")
@reason("Somebody between this device and the site opens encrypted connections")
forbid (principal, action, resource)
when { context.network.interception.value == "detected" };

@id("no-data-on-tampered-networks")
@reason("This network shows signs of tampering")
forbid (principal, action in Action::"data:endpoint", resource)
when { context.network.integrity.value == "suspicious" };
`

const diskBytes = 256 * 1024 * 1024

let undo: AsyncDisposableStack
let folder: string
let site: RunningSite
let ada: SignedInClient
let office: Lan
let ward: Lan
let cafe: Lan
let tpm: SoftwareTpm
let clamd: ClamdRig
let laptop: NetworkNamespace
let service: Service
/** Where a disk of the device's own is mounted. */
let state: string
let vm: ImageForTest
let visitors: Visitors
let olaf: Page
let nora: Page
/** Of nora's, with the VM in it. */
let screen: Page
const inFolder = (name: string): string => join(folder, name)

beforeAll(async () => {
  undo = new AsyncDisposableStack()
  folder = await mkdtemp('/var/tmp/tc-trust-')
  undo.defer(() => rm(folder, { recursive: true, force: true }))
  tpm = undo.use(await startSoftwareTpm())
  await writeFile(inFolder('tpm-authority.pem'), tpm.authority)
  const parts = ['--hosts', '1', '--gateways', '1']
  site = undo.use(await startSite({ args: [...parts, '--tpm-authority', inFolder('tpm-authority.pem')] }))
  await writeFile(inFolder('root.crt'), site.address.ca ?? '')
  ada = await site.signIn('ada')
  await ada.send('PUT', '/admin/policy', { text: policy }, z.unknown())
  vm = await importTinyVm(folder, 'tiny')
  await publishForTest(ada, 'tiny', vm)
  const modes = ['local-vm', 'hosted-shared'] as const
  const desk = diskWorkspace('tiny', { id: 'desk', name: 'Desk', modes: [...modes] })
  await ada.send('PUT', '/admin/workspaces/desk', desk, z.unknown())

  office = undo.use(await createLan())
  ward = undo.use(await createLan())
  cafe = undo.use(await createLan())
  for (const lan of [office, ward, cafe]) await openWay(lan)
  const zones = [
    { name: 'office', kind: 'inside', networks: [office.network, '127.0.0.0/8', '::1/128'] },
    { name: 'ward', kind: 'inside', networks: [ward.network] },
    { name: 'cafe', kind: 'outside', networks: [cafe.network] },
  ]
  await ada.send('PUT', '/admin/zones', { zones }, z.unknown())
  laptop = await office.join('laptop', { host: 10 })
  undo.use(await startDhcp(office, 2, [100, 120]))

  const clamdFolder = await mkdtemp(join(folder, 'clamd-'))
  clamd = undo.use(await makeClamd(clamdFolder))
  await clamd.start()
  await writeFile(inFolder('posture.yaml'), `clamdConfiguration: ${clamd.configuration}\n`)

  state = inFolder('endpoint')
  await writeFile(inFolder('disk.img'), '')
  await truncate(inFolder('disk.img'), diskBytes)
  await run('mke2fs', ['-q', '-t', 'ext4', inFolder('disk.img')])
  await mountDisk(inFolder('disk.img'), state)
  const wish = { kind: 'endpoint', name: 'laptop-7' }
  const { token } = await ada.send('POST', '/admin/enrolment-tokens', wish, tokenAnswer)
  await at(laptop, ['enroll', site.url, '--token', token, '--state', state, '--tpm', tpm.tcti])
  service = await startServiceAt(laptop)
  undo.defer(() => service.stop())
  visitors = undo.use(await startVisitors(site))
  olaf = await visitors.visit()
  await signInAt(olaf, 'olaf')
  await olaf.getByRole('navigation').getByRole('link', { name: 'Data', exact: true }).click()
})
afterAll(() => undo.disposeAsync())

test('a device that is well, in the house, with its TPM, is given the workspace as a VM of its own', async () => {
  await untilClaims({
    'endpoint.reporting': 'current',
    'endpoint.deviceKey': 'tpm',
    'network.interception': 'none',
  })
  const browser = undo.adopt(await browserAt(laptop), (one) => one.close())
  nora = await visit(browser)
  await signInAt(nora, 'nora')
  await tile().getByRole('button', { name: 'Open on this device' }).click()
  await until(async () => (await vmPids()).length === 1, 'QEMU runs', 60_000)
  await sees(tile(), /% of it is here/)
  await sees(copyAt('laptop-7'), 'Held')
  await sees(copyAt('laptop-7'), 'Local virtual machine')
})

test('its screen is shown in the browser of the device: what is typed there is drawn', async () => {
  const running = nora.getByRole('region', { name: 'Running now' })
  const show = running.getByRole('link', { name: 'Show' })
  await show.waitFor()
  screen = await nora.context().newPage()
  await screen.goto((await show.getAttribute('href')) ?? '')
  await untilLive(screen)
  await typeUntilDrawn(screen, 'W')
  // Not a host: nothing here is said of the way to one.
  await expect(screen.getByRole('button', { name: /^Connection/ }).count()).resolves.toBe(0)
})

test('when its antivirus stops the VM is paused and locked, and one click goes on in the data centre', async () => {
  await clamd.stop()
  const notice = nora.getByRole('list', { name: 'Taken back' })
  await sees(notice, /Desk was taken back from laptop-7/)
  await sees(notice, /for you here \(Antivirus: off\)\.$/)
  await sees(notice, /^Turn on antivirus on this device and update its signatures/)
  await sees(copyAt('laptop-7'), 'Paused in memory')
  // Where it was looked at, too.
  await screen.getByRole('heading', { name: 'Desk was taken back from laptop-7' }).waitFor()
  await sees(screen.getByRole('main'), /antivirus/i)
  await screen.getByRole('button', { name: 'Go on in the data centre' }).waitFor()
  await screen.close()
  await notice.getByRole('button', { name: 'Go on in the data centre' }).click()
  await untilLive(nora)
  await sees(copyAt('host-1'), 'In use')
})

test('when it starts again the way back is offered, and leads to the same VM', async () => {
  const [pid] = await vmPids()
  await clamd.start()
  await nora.goto('/')
  await sees(tile(), 'Trust is back: it can be open on this device again.')
  await tile().getByRole('button', { name: 'Open on this device again' }).click()
  await nora.getByRole('dialog').getByRole('button', { name: 'Open on this device' }).click()
  await sees(tile(), /% of it is here/)
  expect(await vmPids()).toEqual([pid])
  await sees(copyAt('laptop-7'), 'Held')
  await copyAt('host-1').waitFor({ state: 'detached' })
  await nora.getByRole('region', { name: 'Running now' }).getByRole('link', { name: 'Show' }).click()
  await untilLive(nora)
  await typeUntilDrawn(nora, 'M')
  await nora.goto('/')
})

test('behind a proxy that opens connections, beside a second DHCP server, and elsewhere, it is told three different things', async () => {
  await endSessions()
  {
    await using people = await startInterceptingProxy({ port: site.port })
    await using agents = await startInterceptingProxy({ port: site.port + 1 })
    await office.serve({ ...waysOf(site), [site.port]: people.port, [site.port + 1]: agents.port })
    // As where the proxy is the house's own: every device trusts its authority.
    const intercepted = await moveTo(office, { NODE_EXTRA_CA_CERTS: people.caFile })
    await untilClaims({ 'network.interception': 'detected' })
    await sees(copyAt('laptop-7, away'), 'office, inside')
    await looks(intercepted, async () => {
      // Her browser is seen on the device: what is between it and the site is between the browser and the site, too.
      await sees(tile(), /^Somebody between this device and the site opens encrypted connections\./)
      expect(await tile().getByRole('button', { name: 'Open', exact: true }).count()).toBe(0)
      await sees(
        nora.locator('.device'),
        /not connected to the site: somebody in between answers in its place/,
      )
      await saysOfDevice('Local virtual machine', 'Forbidden', {
        why: 'Somebody between this device and the site opens encrypted connections.',
        remedy: /Use a network that does not open encrypted connections/,
      })
    })
    await openWay(office)
  }

  // One of two answers every device on a network, and only one was put there by who runs it.
  await using _own = await startDhcp(ward, 2, [100, 120])
  await using _rogue = await startDhcp(ward, 66, [200, 210])
  const beside = await moveTo(ward)
  await untilClaims({ 'network.integrity': 'suspicious' })
  await sees(copyAt('laptop-7'), 'ward, inside')
  await looks(beside, async () => {
    await tile().getByRole('button', { name: 'Open', exact: true }).waitFor()
    await sees(tile(), /^Inside because [\d.]+ is in ward\.$/)
    await saysOfDevice('Local virtual machine', 'Forbidden', {
      why: 'This network shows signs of tampering.',
      remedy: /Use another network/,
    })
  })

  const away = await moveTo(cafe)
  await untilClaims({ 'network.integrity': 'unknown' })
  await sees(copyAt('laptop-7'), 'cafe, outside')
  await looks(away, async () => {
    await tile().getByRole('button', { name: 'Open', exact: true }).waitFor()
    await sees(tile(), /^Outside because [\d.]+ is in cafe\.$/)
    await saysOfDevice('Local virtual machine', 'Not permitted', {
      why: 'No rule allows a virtual machine on this device for you here (Network: outside).',
      remedy: /Use your organisation's own network/,
    })
  })
})

test('a stolen copy of its disk yields no plaintext after it was revoked, and is nobody to the site', async () => {
  const login = ['login', site.url, '--user', 'nora', '--ca', inFolder('root.crt')]
  await at(laptop, login, {}, `${passwordOf('nora')}\n`)
  await ada.send('POST', `/admin/agents/${service.id}/revoke`, undefined, z.unknown())
  await until(async () => (await vmPids()).length === 0, 'nothing of it runs')
  await service.stop()
  // The blocks, and so also what was deleted and what the journal holds.
  await run('sync', ['-f', state])
  const copy = inFolder('stolen.img')
  await run('cp', ['--sparse=always', inFolder('disk.img'), copy])
  expect(await wordsIn(copy, [marker, 'Trustcast guest', 'BEGIN PRIVATE KEY'])).toEqual([])
  expect(await wordsIn(copy, [vm.key, vm.key.toString('base64url'), vm.key.toString('hex')])).toEqual([])
  // What is looked through is what the device had.
  expect(await wordsIn(copy, [service.id])).toEqual([service.id])
  const mounted = inFolder('mounted')
  await mountDisk(copy, mounted)
  const listed = await tryAt(laptop, ['list'], { TRUSTCAST_ENDPOINT: mounted })
  expect(listed.stderr).toContain('ENDPOINT_REFUSED')
  await sees(copyAt('laptop-7'), 'Left behind')
  await sees(copyAt('laptop-7'), /without its key since .*: unreadable without the site/)
})

/** Of these words those that are anywhere in a file. */
async function wordsIn(
  path: string,
  words: readonly (string | Buffer)[],
): Promise<readonly (string | Buffer)[]> {
  const bytes = await readFile(path)
  return words.filter((word) => bytes.includes(word))
}

/** Mounts a file system that lies in a file. */
async function mountDisk(image: string, folder: string): Promise<void> {
  await mkdir(folder)
  await run('mount', ['-o', 'loop', image, folder])
  undo.defer(async () => void (await run('umount', [folder])))
}

/** A row of the page that the auditor has had open since the beginning, as it is now. */
function copyAt(machine: string): Locator {
  return olaf.getByRole('row').filter({ hasText: machine })
}

interface Service {
  readonly id: string
  stop(): Promise<void>
}

/** Takes the device to another network, as its person carries it there. */
async function moveTo(lan: Lan, more: Readonly<Record<string, string>> = {}): Promise<NetworkNamespace> {
  await service.stop()
  const network = lan === office ? laptop : await lan.join('laptop', { host: 10 })
  service = await startServiceAt(network, more)
  return network
}

/** A DHCP server on a network, which names itself as the way out unless it is the first. */
async function startDhcp(lan: Lan, host: number, range: readonly [number, number]): Promise<AsyncDisposable> {
  const at = await lan.join(`dhcp${host}`, { host })
  const router = host === 2 ? lan.gateway : at.address
  return startDnsmasq(at, { subnet: lan.subnet, range, router })
}

/** The device's own program, in one of its networks. */
async function startServiceAt(
  network: NetworkNamespace,
  more: Readonly<Record<string, string>> = {},
): Promise<Service> {
  const words = ['endpoint', '--state', state, '--port', String(devicePort), '--as', 'games']
  const child = network.spawn(trustcast, words, { env: environment(more), stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (data) => (output += String(data)))
  await until(
    () => {
      if (child.exitCode !== null) throw new Error(`the service ended with ${child.exitCode}:\n${output}`)
      return output.includes('endpoint service runs')
    },
    'the service runs',
    60_000,
  )
  const id = /"endpoint":"([0-9a-f-]{36})"/.exec(output)?.[1] ?? ''
  return { id, stop: () => end(child) }
}

function environment(more: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  return {
    ...process.env,
    TRUSTCAST_ENDPOINT: state,
    TRUSTCAST_RUN: inFolder('run'),
    TRUSTCAST_LOGIN: inFolder('nora-login.json'),
    TRUSTCAST_POSTURE: inFolder('posture.yaml'),
    TPM2TOOLS_TCTI: tpm.tcti,
    ...more,
  }
}

async function tryAt(
  network: NetworkNamespace,
  words: readonly string[],
  more: Readonly<Record<string, string>> = {},
  input = '',
): Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }> {
  const child = network.spawn(trustcast, words, { env: environment(more), stdio: ['pipe', 'pipe', 'pipe'] })
  let [stdout, stderr] = ['', '']
  child.stdout?.on('data', (data) => (stdout += String(data)))
  child.stderr?.on('data', (data) => (stderr += String(data)))
  child.stdin?.end(input)
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { code, stdout, stderr }
}

async function at(
  network: NetworkNamespace,
  words: readonly string[],
  more: Readonly<Record<string, string>> = {},
  input = '',
): Promise<string> {
  const { code, stdout, stderr } = await tryAt(network, words, more, input)
  if (code !== 0) throw new Error(`${words.join(' ')} ended with ${code}:\n${stdout}${stderr}`)
  return stdout
}

/** Nora signs in at the device in a browser of that network, where the device answers, and asks why. */
async function looks(network: NetworkNamespace, at: () => Promise<void>): Promise<void> {
  const browser = await browserAt(network)
  try {
    nora = await visit(browser)
    await signInAt(nora, 'nora')
    await tile().getByRole('button', { name: 'Why?' }).click()
    await tile().getByRole('region', { name: 'On this device' }).waitFor()
    await at()
  } finally {
    await browser.close()
  }
}

/** What is decided for the device itself. */
async function saysOfDevice(
  mode: string,
  state: string,
  { why, remedy }: { readonly why: string; readonly remedy: RegExp },
): Promise<void> {
  const refused = tile()
    .getByRole('region', { name: 'On this device' })
    .getByRole('listitem')
    .filter({ hasText: mode })
  await sees(refused, state)
  await sees(refused, new RegExp(`^${RegExp.escape(why)}`))
  await sees(refused, remedy)
}

/** Everything that a device reaches of the site: people, agents, the gateway. */
function waysOf({ port }: RunningSite): Record<number, number> {
  return Object.fromEntries([port, port + 1, port + 2].map((one) => [one, one]))
}

async function openWay(lan: Lan): Promise<void> {
  await lan.serve(waysOf(site))
}

async function untilClaims(wanted: Readonly<Record<string, string>>): Promise<void> {
  await until(
    async () => {
      const { claims } = await ada.get(`/endpoints/${service.id}/claims`, endpointClaimsAnswer)
      return Object.entries(wanted).every(
        ([name, value]) => claims.find((one) => one.name === name)?.value === value,
      )
    },
    `the site knows ${JSON.stringify(wanted)}`,
    90_000,
  )
}

async function endSessions(): Promise<void> {
  const client = await site.signIn('nora')
  const { sessions } = await client.get(
    '/sessions',
    z.looseObject({ sessions: z.array(z.looseObject({ id: z.string() })) }),
  )
  for (const { id } of sessions) await client.send('DELETE', `/sessions/${id}`, undefined, z.unknown())
}

/** A browser of the device, which reaches what the device reaches. */
async function browserAt(network: NetworkNamespace): Promise<Browser> {
  const [program, words] = network.inside(process.env['CHROMIUM'] ?? '/usr/bin/chromium')
  await writeFile(inFolder('browser'), `#!/bin/sh\nexec ${program} ${words.join(' ')} "$@"\n`, {
    mode: 0o755,
  })
  return chromium.launch({
    executablePath: inFolder('browser'),
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-background-networking',
      '--no-first-run',
      '--ignore-certificate-errors',
    ],
  })
}

async function visit(browser: Browser): Promise<Page> {
  const context = await browser.newContext({
    baseURL: site.url,
    viewport: { width: 1280, height: 800 },
    ignoreHTTPSErrors: true,
  })
  context.setDefaultTimeout(30_000)
  return context.newPage()
}

/** The guest draws what it is typed. More changes than a cursor that blinks, and not because it still boots. */
async function typeUntilDrawn(page: Page, key: string): Promise<void> {
  const glyphPixels = 40
  const isStill = async (): Promise<boolean> =>
    untilDiffers(page, await rememberPicture(page), glyphPixels, 2_000).then(
      () => false,
      () => true,
    )
  await until(isStill, 'the guest waits for a key', 60_000)
  const before = await rememberPicture(page)
  await page.locator('.screen canvas').focus()
  await page.keyboard.press(key)
  await untilDiffers(page, before, glyphPixels)
}

function tile() {
  return nora.getByRole('article', { name: 'Desk', exact: true })
}

async function vmPids(): Promise<readonly number[]> {
  return pidsMatching('process=trustcast-vm')
}
