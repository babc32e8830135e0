import { createHash, randomBytes, X509Certificate } from 'node:crypto'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type Credentials, connectTo } from '#apps/site-client/call.ts'
import { makeProof, proofHeader } from '#core/identity/proof.ts'
import { openWorkspace, untilWorks } from './hosted-person.rig.ts'
import {
  freePorts,
  passwordOf,
  pidsMatching,
  type RunningSite,
  startSite,
  until,
} from './running-site.rig.ts'
import { displayServers, familyOf, running } from './site-processes.rig.ts'

test('a site that was killed leaves nothing behind and goes on with the same log; one that is ended does so, too, and on other ports', async () => {
  await using first = await startSite()
  await signInAuditor(first)
  const session = await openWorkspace(first, await first.signIn('nora'), 'desktop')
  const copy = join(first.state, 'copy')
  expect((await first.cli(['audit', 'export', copy], { login: 'olaf' })).code).toBe(0)

  const killed = await familyOf([first.pid])
  expect((await displayServers(first.state)).length).toBeGreaterThan(0)
  process.kill(first.pid, 'SIGKILL')
  await untilNothingRuns(first, killed)
  session.viewer.channel.close('left')

  await using second = await startSite({ again: first })
  const verified = await second.cli(['audit', 'verify', '--checkpoint', join(copy, 'checkpoint')], {
    login: 'olaf',
  })
  expect(verified).toMatchObject({ code: 0, stdout: expect.stringContaining('holds') })
  const nora = await second.signIn('nora')
  let again = session
  // The site learns from its hosts which sessions are no more.
  await untilWorks(async () => {
    again = await openWorkspace(second, nora, 'desktop')
  }, 'a launch works')
  expect(again.delivery.session.id).not.toBe(session.delivery.session.id)

  const ended = await familyOf([second.pid])
  process.kill(second.pid, 'SIGTERM')
  await untilNothingRuns(second, ended)
  again.viewer.channel.close('left')

  // Its hosts and gateways find it there.
  await using moved = await startSite({ again: { state: first.state, port: await freePorts() } })
  await untilWorks(async () => {
    await openWorkspace(moved, await moved.signIn('nora'), 'editor')
  }, 'a launch works on other ports')
}, 240_000)

test('a site ends though pages went away while it found out who asked for their events', async () => {
  await using site = await startSite({ args: ['--hosts', '1', '--gateways', '1'] })
  const { credentials } = await site.signIn('nora')
  for (let round = 0; round < 30; round++) await askForEventsAndGo(site, credentials)
  const [pid = 0] = await site.pidsOf('site')
  process.kill(pid, 'SIGTERM')
  await until(async () => (await running([pid])).length === 0, 'the site ends')
}, 120_000)

async function askForEventsAndGo(site: RunningSite, { cookie, keyPair }: Credentials): Promise<void> {
  const method = 'GET'
  const path = '/api/v1/events'
  const body = new Uint8Array()
  const proof = await makeProof({
    method,
    path,
    body,
    keyPair,
    nowMs: Date.now(),
    random: randomBytes(16),
  })
  const lines = [`${method} ${path} HTTP/1.1`, `host: ${new URL(site.url).host}`, `cookie: ${cookie}`]
  const socket = await connectTo(site.address)
  const gone = new Promise((resolve) => socket.once('close', resolve))
  socket.end(`${[...lines, `${proofHeader}: ${proof}`].join('\r\n')}\r\n\r\n`, () => socket.destroy())
  await gone
}

/** No process, no display and no port of it. */
async function untilNothingRuns(site: RunningSite, family: readonly number[]): Promise<void> {
  await until(async () => (await pidsMatching(site.state)).length === 0, 'nothing of the site runs', 60_000)
  await until(async () => (await running(family)).length === 0, 'nothing that it started runs', 60_000)
  for (let port = site.port; port < site.port + 6; port++) await expect(isFree(port)).resolves.toBe(true)
}

async function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', () => resolve(false))
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)))
  })
}

async function signInAuditor(site: RunningSite): Promise<void> {
  const root = new X509Certificate(site.address.ca ?? '')
  const fingerprint = createHash('sha256').update(root.raw).digest('hex')
  const words = ['login', site.url, '--user', 'olaf', '--trust', fingerprint]
  expect((await site.cli(words, { login: 'olaf', input: `${passwordOf('olaf')}\n` })).code).toBe(0)
}
