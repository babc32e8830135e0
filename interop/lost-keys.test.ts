import { createHash, X509Certificate } from 'node:crypto'
import { access, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { deletionView, peopleAnswer } from '#core/api/admin.ts'
import { passwordOf, pidsMatching, type RunningSite, startSite, until } from './running-site.rig.ts'

/** What a site is known by is made once: what is lost later is missed, not replaced. */

const small = ['--hosts', '1', '--gateways', '1']

test('a site that lost keys refuses to start, until it is told to go on without them, which the log tells', async () => {
  await using first = await startSite({ args: small })
  const account = await accountOfNora(first)
  await endIt(first)
  const keys = join(first.state, 'keys')
  const lost = ['pki', 'audit', 'director']
  await rm(join(first.state, 'pki'), { recursive: true })
  await rm(join(keys, 'audit.key'))
  await rm(join(keys, 'director.key'))
  const start = async (...words: readonly string[]) =>
    first.cli(['up', '--demo', '--state', first.state, '--port', String(first.port), ...small, ...words])

  const refused = await start()
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('SITE_KEY_LOST') })
  for (const name of lost) expect(refused.stderr).toContain(`--replace-lost ${name}`)
  expect((await start('--replace-lost', 'audit')).stderr).toContain('SITE_KEY_LOST')
  expect((await start('--replace-lost', 'route')).stderr).toContain('SITE_KEY_NOT_LOST')
  expect((await start('--replace-lost', 'nothing')).code).toBe(2)
  expect(await readdir(keys)).not.toContain('audit.key')
  await expect(access(join(first.state, 'pki'))).rejects.toThrow('ENOENT')

  const words = lost.flatMap((name) => ['--replace-lost', name])
  await using second = await startSite({ again: first, args: [...small, ...words] })
  await signInAuditor(second)
  const { stdout } = await second.cli(['audit', 'show', '--last', '500'], { login: 'olaf' })
  for (const name of lost) expect(stdout).toContain(`lost key replaced: ${name}`)
  // What is in people's homes is theirs under another root, too.
  expect(await accountOfNora(second)).toBe(account)
  const verified = await second.cli(['audit', 'verify'], { login: 'olaf' })
  expect(verified).toMatchObject({ code: 0, stdout: expect.stringContaining('holds') })
}, 180_000)

async function accountOfNora(site: RunningSite): Promise<string | undefined> {
  const ada = await site.signIn('ada')
  const { people } = await ada.get('/admin/people', peopleAnswer)
  const nora = people.find(({ login }) => login === 'nora')
  return (await ada.get(`/admin/people/${nora?.id}/deletion`, deletionView)).person?.account
}

async function endIt(site: RunningSite): Promise<void> {
  process.kill(site.pid, 'SIGTERM')
  await until(async () => (await pidsMatching(site.state)).length === 0, 'nothing of the site runs', 60_000)
}

async function signInAuditor(site: RunningSite): Promise<void> {
  const root = new X509Certificate(site.address.ca ?? '')
  const fingerprint = createHash('sha256').update(root.raw).digest('hex')
  const words = ['login', site.url, '--user', 'olaf', '--trust', fingerprint]
  expect((await site.cli(words, { login: 'olaf', input: `${passwordOf('olaf')}\n` })).code).toBe(0)
}
