import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { passwordOf, type RunningSite, startSite } from './running-site.rig.ts'

let site: RunningSite
beforeAll(async () => {
  site = await startSite()
})
afterAll(async () => {
  await site[Symbol.asyncDispose]()
})

/** The configuration of a gateway whose people's port the site has and whose agents' port nobody has. */
async function gatewayOnPortsOf({ state, port }: RunningSite): Promise<string> {
  const file = join(state, 'taken.yaml')
  await writeFile(
    file,
    JSON.stringify({
      state: join(state, 'gateway-1'),
      people: { address: '127.0.0.1', port },
      agents: { address: '127.0.0.1', port: 0 },
      publicUrl: site.url,
      agentUrl: site.url,
      allowedOrigins: [site.url],
    }),
  )
  return file
}

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
  expect(await site.cli(['lease', 'withdraw'])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('Usage: trustcast lease withdraw LEASE --reason TEXT'),
  })
  expect(await site.cli(['help', 'frobnicate'])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('USAGE'),
  })
})

test('what a person names wrongly is answered with a code and a remedy, and the command ends', async () => {
  const token = `tc1.host.${'A'.repeat(43)}.${'A'.repeat(43)}`
  const text = join(site.state, 'words.txt')
  await writeFile(text, 'hello: [\n')
  const gateway = `https://localhost:${site.port + 2}`
  const answers: readonly (readonly [string, readonly string[]])[] = [
    ['CLI_FILE_MISSING', ['login', site.url, '--ca', '/nowhere/root.pem']],
    ['CLI_NO_CERTIFICATE', ['login', site.url, '--ca', text]],
    ['CLI_NO_CERTIFICATE', ['enroll', site.url, '--ca', text]],
    ['SITE_AWAY', ['login', 'https://localhost:1']],
    ['SITE_AWAY', ['login', gateway, '--trust', 'a'.repeat(64)]],
    ['AGENT_SITE_AWAY', ['enroll', 'https://localhost:1', '--host', '--token', token]],
    ['CLI_SOCKET_UNUSABLE', ['launch', 'desktop', '--socket', '/nowhere/rfb.sock']],
    ['CLI_NO_ACCOUNT', ['launch', 'desktop', '--as', 'nobody-of-that-name']],
    ['CLI_FILE_MISSING', ['launch', 'desktop', '--store-ca', '/nowhere/ca.pem']],
    ['CLI_PORT_TAKEN', ['gateway', '--config', await gatewayOnPortsOf(site)]],
    ['CLI_FILE_UNUSABLE', ['up', '--state', text, '--port', '1']],
    ['CONFIG_NOT_YAML', ['beacon', '--config', text]],
    ['PKI_AUTHORITY_MISSING', ['authority', 'renew', '--state', '/nowhere']],
    ['KEY_FILE_DAMAGED', ['key', 'show', text]],
    ['CLI_FILE_UNUSABLE', ['key', 'show', site.state]],
    ['AUDIT_BAD_KEY', ['audit', 'verify', '/nowhere', '--key', 'x']],
    ['STORE_URL_MALFORMED', ['up', '--state', join(site.state, 'other'), '--port', '11', '--database', 'x']],
  ]
  await Promise.all(
    answers.map(async ([code, words]) => {
      const { code: status, stderr } = await site.cli(words, { login: 'nora' })
      // The code and the message, the remedy below them, and nothing else.
      expect({ status, stderr }, words.join(' ')).toEqual({
        status: 1,
        stderr: expect.stringMatching(new RegExp(`^${code}: .+\\n[A-Z].+\\n$`)),
      })
    }),
  )
})

test('without a sign-in a command says how to get one', async () => {
  expect(await site.cli(['list'], { login: 'stranger' })).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('CLI_NOT_SIGNED_IN'),
  })
  // Nobody's sign-in, as one that has ended.
  const login = JSON.parse(await readFile(join(site.state, 'login-nora.json'), 'utf8')) as { cookie: string }
  const over = { ...login, cookie: `${login.cookie.split('=')[0]}=${'A'.repeat(43)}` }
  await writeFile(join(site.state, 'login-over.json'), JSON.stringify(over))
  const { stderr } = await site.cli(['list'], { login: 'over' })
  expect(stderr).toMatch(new RegExp(`^NOT_SIGNED_IN: .+\\nRun: trustcast login ${site.url}\\n$`))
})
