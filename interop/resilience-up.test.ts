import { createHash, X509Certificate } from 'node:crypto'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openWorkspace, untilWorks } from './hosted-person.rig.ts'
import { passwordOf, pidsMatching, type RunningSite, startSite, until } from './running-site.rig.ts'
import { displayServers, familyOf, running } from './site-processes.rig.ts'

test('a site that was killed leaves nothing behind and goes on with the same log; one that is ended does so, too', async () => {
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
}, 180_000)

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
