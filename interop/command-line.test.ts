import { afterAll, beforeAll, expect, test } from 'vitest'
import { passwordOf, type RunningSite, startSite } from './running-site.rig.ts'

let site: RunningSite
beforeAll(async () => {
  site = await startSite()
})
afterAll(async () => {
  await site[Symbol.asyncDispose]()
})

const fingerprintOf = (text: string): string => /--trust ([0-9a-f]{64})/.exec(text)?.[1] ?? ''

test('a new user learns what to compare, signs in, sees workspaces and the reasons for them', async () => {
  const refused = await site.cli(['login', site.url, '--user', 'nora'], { login: 'nora', input: 'x\n' })
  expect(refused.code).toBe(1)
  expect(refused.stderr).toContain('CLI_SITE_UNKNOWN')

  const login = ['login', site.url, '--user', 'nora', '--trust', fingerprintOf(refused.stderr)]
  const wrong = await site.cli(login, { login: 'nora', input: 'wrong password\n' })
  expect(wrong).toMatchObject({ code: 1, stderr: expect.stringContaining('SIGN_IN_REFUSED') })

  const right = await site.cli(login, { login: 'nora', input: `${passwordOf('nora')}\n` })
  expect(right).toMatchObject({ code: 0, stdout: expect.stringContaining('as Nora Lind') })

  const list = await site.cli(['list', '--json'], { login: 'nora' })
  const { workspaces } = JSON.parse(list.stdout) as {
    workspaces: { id: string; decision: { outcome?: { mode: string } } }[]
  }
  expect(workspaces.find(({ id }) => id === 'desktop')?.decision.outcome?.mode).toBe('hosted-shared')

  const explained = await site.cli(['explain', 'desktop'], { login: 'nora' })
  expect(explained.stdout).toContain('hosted-shared')
  expect(explained.stdout).toContain('would unlock it: Use a device that your organisation manages')

  const asking = await site.cli(['explain', 'desktop', '--user', 'carl'], { login: 'nora' })
  expect(asking).toMatchObject({ code: 1, stderr: expect.stringContaining('NOT_ALLOWED') })
})

test('wrong usage ends with 2 and says how the command is used', async () => {
  expect(await site.cli(['frobnicate'])).toMatchObject({ code: 2, stderr: expect.stringContaining('USAGE') })
  expect(await site.cli(['end'])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('Usage: trustcast end SESSION'),
  })
})

test('without a sign-in a command says how to get one', async () => {
  expect(await site.cli(['list'], { login: 'stranger' })).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('CLI_NOT_SIGNED_IN'),
  })
})
