import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { z } from 'zod'
import { tpm2 } from '#adapters/tpm/swtpm.rig.ts'
import { quoteOver, readIdentity } from '#apps/agent-client/index.ts'
import { renewIdentity } from '#apps/agent-client/keep-renewed.ts'
import { startEndpointAgent } from '#apps/endpoint/endpoint-agent.ts'
import { reportOfMachine } from '#apps/endpoint/report-sources.ts'
import { attest } from '#apps/site/endpoints/attesting.ts'
import { enrolmentRequestView } from '#core/api/device-keys.ts'
import { endpointClaim } from '#core/api/evidence.ts'
import type { Observation } from '#core/evidence/index.ts'
import { logOf, measured, variable } from '#core/tpm/event-log.fixture.ts'
import { type Attestation, attestation, EV, quotedPcrs } from '#core/tpm/index.ts'
import { startTpmSite, type TpmSite, wasOff } from './device-keys.rig.ts'
import { startLossyWay } from './lost-answers.rig.ts'
import { passwordOf, until } from './running-site.rig.ts'
import { openDatabase } from './site-database.rig.ts'

vi.setConfig({ testTimeout: 180_000 })
const silent = { info: () => undefined, warn: () => undefined }
let at: TpmSite

beforeAll(async () => {
  at = await startTpmSite()
}, 240_000)
afterAll(() => at[Symbol.asyncDispose]())

test('a machine with a TPM is enrolled by the command line and known by it', async () => {
  const dir = join(at.dir, 'laptop-1')
  const words = ['enroll', at.site.url, '--token', await at.token('laptop-1'), '--state', dir, '--json']
  const done = await at.site.cli([...words, '--tpm', at.tpm.tcti])
  expect(done).toMatchObject({ code: 0 })
  const { id, deviceKey } = JSON.parse(done.stdout) as { id: string; deviceKey: string }
  expect(deviceKey).toBe('tpm')
  const file = await readFile(join(dir, 'agent.json'), 'utf8')
  expect(file).not.toContain('PRIVATE KEY')
  expect(await readIdentity(dir, 'endpoint')).toMatchObject({ id, tpm: { tcti: at.tpm.tcti } })
  expect(await at.view(id)).toMatchObject({
    deviceKey: 'tpm',
    enrolledAt: expect.any(String),
    boot: { state: 'expected', secureBoot: 'unknown', difference: [] },
  })
})

test('a machine without one is known by a key file that is encrypted on disk', async () => {
  const { dir, identity } = await at.enrol('laptop-2', 'auto')
  expect(await readFile(join(dir, 'agent.json'), 'utf8')).not.toContain('PRIVATE KEY')
  expect(await at.view(identity.id)).toMatchObject({ deviceKey: 'file' })
  expect((await at.view(identity.id)).boot).toBeUndefined()
  expect(await quoteOver(dir, randomBytes(32), { withLog: true })).toBeUndefined()
  const agent = await startEndpointAgent({ dir, version: 'test', log: silent })
  expect(await agent.untilConnected(20_000)).toBe(true)
  await agent[Symbol.asyncDispose]()
  expect(await readFile(join(dir, 'seal-key'), 'utf8')).toMatch(/^tcs1\./)
})

test('a certificate is renewed with a quote over the request for it', async () => {
  const { dir, identity } = await at.enrol('laptop-3', { tcti: at.tpm.tcti })
  const renewed = await renewIdentity(dir, identity)
  expect(renewed.privateKeyPem).not.toBe(identity.privateKeyPem)
  expect(await readIdentity(dir)).toEqual(renewed)
})

test.each(['a key file', 'a TPM'])(
  'a machine known by %s that was off for weeks comes back by itself, to a new key',
  async (known) => {
    const name = known.replace(/^a /, '').replace(' ', '-').toLowerCase()
    const { dir, identity } = await at.enrol(name, known === 'a TPM' ? { tcti: at.tpm.tcti } : 'none')
    const expired = await wasOff(at, { dir, identity }, 20)
    await expect(renewIdentity(dir, expired)).rejects.toMatchObject({ code: 'AGENT_SITE_AWAY' })
    await using agent = await startEndpointAgent({ dir, version: 'test', log: silent })
    expect(await agent.untilConnected(30_000)).toBe(true)
    await until(
      async () => (await readIdentity(dir)).privateKeyPem !== identity.privateKeyPem,
      'its key was replaced',
    )
    expect(await at.view(identity.id)).toMatchObject({ name, deviceKey: known === 'a TPM' ? 'tpm' : 'file' })
    await using database = await openDatabase(at.site)
    const entries = await database.rows(`select convert_from(entry, 'utf8') as text from audit_entries`)
    expect(entries.some(({ text }) => /"expiredAt":/.test(String(text)) && String(text).includes(name))).toBe(
      true,
    )
  },
)

test.each(['a key file', 'a TPM'])(
  'a machine known by %s that never heard the answer to a renewal, and was off then, comes back',
  async (known) => {
    const name = `lost-${known.endsWith('TPM') ? 'tpm' : 'file'}`
    const enrolled = await at.enrol(name, known === 'a TPM' ? { tcti: at.tpm.tcti } : 'none')
    const { dir, identity } = enrolled
    await using database = await openDatabase(at.site)
    const keys = (set: string) =>
      database.rows(`update endpoint_keys set ${set} where endpoint_id = $1 returning 1`, [identity.id])
    // As if half of its life had passed.
    await keys(`expires_at = expires_at - interval '12 hours'`)
    await using way = await startLossyWay(Number(new URL(identity.agentUrl).port))
    const elsewhere = { ...identity, agentUrl: `https://127.0.0.1:${way.port}` }
    // However often it asks, the site hears of one more key.
    for (let tries = 0; tries < 4; tries++)
      await expect(renewIdentity(dir, elsewhere)).rejects.toMatchObject({ code: 'AGENT_SITE_AWAY' })
    await until(async () => (await keys('expires_at = expires_at')).length > 1, 'the site has heard of a key')
    expect(await keys('expires_at = expires_at')).toHaveLength(2)
    expect(await readIdentity(dir)).toEqual(identity)
    await wasOff(at, enrolled, 5)
    await using agent = await startEndpointAgent({ dir, version: 'test', log: silent })
    expect(await agent.untilConnected(30_000)).toBe(true)
    await until(
      async () => (await keys('expires_at = expires_at')).length === 3,
      'it has a key of its own again',
    )
    expect(await at.view(identity.id)).toMatchObject({ name })
  },
)

test('a machine whose endpoint was revoked is enrolled again where it was, and keeps all but its identity', async () => {
  const { dir, identity } = await at.enrol('laptop-again', { tcti: at.tpm.tcti })
  const floors = join(dir, 'floors')
  await mkdir(floors)
  for (const file of ['floors/office@4', 'evidence.json', 'seal-key']) await writeFile(join(dir, file), '')
  await expect(at.enrol('laptop-again', { tcti: at.tpm.tcti })).rejects.toMatchObject({
    code: 'AGENT_ENROLLED_ALREADY',
    remedy: expect.stringContaining('revoke'),
  })
  await at.admin.send('POST', `/admin/agents/${identity.id}/revoke`, {}, z.unknown())
  const { identity: next } = await at.enrol('laptop-again', { tcti: at.tpm.tcti })
  expect(next.id).not.toBe(identity.id)
  expect(await readIdentity(dir)).toEqual(next)
  expect((await readdir(dir)).toSorted()).toEqual(['agent.json', 'floors'])
  expect(await readdir(floors)).toEqual(['office@4'])
  const handles = (await tpm2(at.tpm, 'getcap handles-persistent')).toLowerCase()
  expect(handles).not.toContain(identity.tpm?.handle)
  expect(handles).toContain(next.tpm?.handle)
})

test('the first boot is the expected one; another one is changed until an admin accepts it', async () => {
  const { dir, identity } = await at.enrol('laptop-4', { tcti: at.tpm.tcti })
  const { id } = identity
  const attested = async () => {
    const extraData = randomBytes(32)
    return attest(at.node, await at.row(id), await quoted(dir, extraData), extraData)
  }
  expect(await attested()).toMatchObject({
    deviceKey: 'tpm',
    bootState: 'expected',
    secureBoot: 'unknown',
    wantLog: true,
  })
  await tpm2(at.tpm, `pcrextend 4:sha256=${'ab'.repeat(32)}`)
  expect(await attested()).toMatchObject({ bootState: 'changed', detail: 'boot loader changed (PCR 4)' })
  const { boot } = await at.view(id)
  expect(boot).toMatchObject({ state: 'changed', difference: ['boot loader changed (PCR 4)'] })
  const accept = (boot: string): Promise<unknown> =>
    at.admin.send('POST', `/admin/endpoints/${id}/accept-boot`, { id: boot }, z.unknown())
  await expect(accept('0'.repeat(16))).rejects.toMatchObject({ code: 'CONFLICT' })
  await accept(boot?.id ?? '')
  expect(await at.view(id)).toMatchObject({ boot: { state: 'expected', difference: [] } })
  expect(await attested()).toMatchObject({ bootState: 'expected' })
})

test('the event log explains what the TPM holds', async () => {
  await at.tpm.restart()
  const { dir, identity } = await at.enrol('laptop-5', { tcti: at.tpm.tcti, eventLog: join(at.dir, 'log') })
  // A machine that boots: each thing is measured and written down.
  const events = [
    measured(7, 0x80000001, variable('SecureBoot', Buffer.from([1]))),
    measured(7, 4, Buffer.alloc(4)),
    measured(9, 0xd, Buffer.from('/vmlinuz-6.1\0')),
  ]
  for (const { pcr, digest } of events) await tpm2(at.tpm, `pcrextend ${pcr}:sha256=${digest}`)
  await writeFile(join(at.dir, 'log'), logOf(events))
  expect(quotedPcrs).toContain(9)
  const extraData = randomBytes(32)
  const first = await attest(at.node, await at.row(identity.id), await quoted(dir, extraData), extraData)
  expect(first).toMatchObject({ secureBoot: 'on', bootState: 'changed', wantLog: false })
  const { boot } = await at.view(identity.id)
  await at.admin.send('POST', `/admin/endpoints/${identity.id}/accept-boot`, { id: boot?.id }, z.unknown())
  // Known from then on, without the log.
  const without = await attest(
    at.node,
    await at.row(identity.id),
    await quoted(dir, extraData, false),
    extraData,
  )
  expect(without).toMatchObject({ secureBoot: 'on', bootState: 'expected', wantLog: false })
  const update = measured(9, 0xd, Buffer.from('/vmlinuz-6.2\0'))
  await tpm2(at.tpm, `pcrextend 9:sha256=${update.digest}`)
  await writeFile(join(at.dir, 'log'), logOf([...events, update]))
  const next = await attest(at.node, await at.row(identity.id), await quoted(dir, extraData), extraData)
  expect(next).toMatchObject({ bootState: 'changed', detail: 'kernel is new (/vmlinuz-6.2)' })
})

// Looks three times with everything that looks, on a machine that does much else.
test('the person of an enrolled machine sees what is sent, and what each claim is worth to the site', {
  timeout: 400_000,
}, async () => {
  await at.tpm.restart()
  const line = 'kernel_cmdline: /vmlinuz-6.1 root=/dev/vda quiet'
  const event = measured(8, EV.IPL, Buffer.from(`${line}\0`))
  await tpm2(at.tpm, `pcrextend ${event.pcr}:sha256=${event.digest}`)
  await writeFile(join(at.dir, 'person-log'), logOf([event]))
  const { dir } = await at.enrol('laptop-7', { tcti: at.tpm.tcti, eventLog: join(at.dir, 'person-log') })
  await using report = await reportOfMachine({ dir, log: silent })
  await using agent = await startEndpointAgent({ dir, version: 'test', log: silent, report })
  await until(() => agent.reporter?.acceptedAt !== undefined, 'the site has taken its evidence', 120_000)
  const ca = join(at.site.state, 'pki/root.pem')
  const login = ['login', at.site.url, '--user', 'nora', '--ca', ca]
  expect(await at.site.cli(login, { login: 'nora', input: `${passwordOf('nora')}\n` })).toMatchObject({
    code: 0,
  })
  vi.stubEnv('TRUSTCAST_ENDPOINT', dir)
  onTestFinished(() => void vi.unstubAllEnvs())

  const { stdout } = await at.site.cli(['posture', '--json'], { login: 'nora' })
  const shown = z
    .object({ observations: z.array(z.any()), attestation, site: z.array(endpointClaim) })
    .parse(JSON.parse(stdout))
  const claims = new Map(shown.site.map((claim) => [claim.name, claim]))
  expect(claims.get('endpoint.deviceKey')).toMatchObject({ value: 'tpm', source: 'attested' })
  expect(claims.get('endpoint.reporting')).toMatchObject({ value: 'current', source: 'server' })
  // No clamd runs where this machine's own configuration says.
  expect(claims.get('endpoint.antivirus')).toMatchObject({ value: 'off', source: 'self' })
  for (const { ageSec, worth } of shown.site) {
    expect(ageSec).toBeLessThan(600)
    expect(worth).not.toBe('')
  }
  // What the service has said is what the command shows: each claim of each collector, those of the network too.
  expect(said(shown.observations)).toEqual(said(report.observers.flatMap((one) => one.latest())))
  expect(said(shown.observations)).toContain('network.integrity gateway')
  expect(Buffer.from(shown.attestation.eventLog ?? '', 'base64url')).toEqual(
    await readFile(join(at.dir, 'person-log')),
  )

  vi.stubEnv('TRUSTCAST_ENDPOINT', join(at.dir, 'none'))
  const text = (await at.site.cli(['posture', '--state', dir], { login: 'nora' })).stdout
  expect(text).toMatch(/Device key: tpm\n +worth: attested, \d+ s old: /)
  expect(text).toMatch(/gateway, now: unknown\. /)
  expect(text).toMatch(/a quote of its TPM \(\d+ bytes\)/)
  expect(text).toContain(`event log (${(await stat(join(at.dir, 'person-log'))).size} bytes): 1 measurements`)
  expect(text).toContain(line)
})

test('a machine without a token waits until an admin lets it in, as whose it is', async () => {
  const dir = join(at.dir, 'desk-1')
  await using waiting = await waitingCommand(['--name', 'desk-1', '--state', dir])
  const { id } = await requestWith(waiting.code)
  await at.admin.send(
    'POST',
    `/admin/enrolment-requests/${id}/approve`,
    { name: 'desk-1', owner: 'nora' },
    z.unknown(),
  )
  expect(await waiting.ended()).toBe(0)
  const identity = await readIdentity(dir, 'endpoint')
  expect(await at.view(identity.id)).toMatchObject({
    name: 'desk-1',
    owner: { login: 'nora' },
    deviceKey: 'file',
  })
  await at.admin.send('POST', `/admin/endpoints/${identity.id}/owner`, { owner: null }, z.unknown())
  expect((await at.view(identity.id)).owner).toBeUndefined()
})

test('a machine that is refused stops waiting and is nothing', async () => {
  const dir = join(at.dir, 'desk-2')
  await using waiting = await waitingCommand(['--name', 'desk-2', '--state', dir])
  const { id } = await requestWith(waiting.code)
  await at.admin.send('POST', `/admin/enrolment-requests/${id}/refuse`, undefined, z.unknown())
  expect(await waiting.ended()).toBe(1)
  await expect(readIdentity(dir)).rejects.toMatchObject({ code: 'AGENT_NOT_ENROLLED' })
  await expect(
    at.admin.send('POST', `/admin/enrolment-requests/${id}/approve`, { name: 'desk-2' }, z.unknown()),
  ).rejects.toMatchObject({ code: 'CONFLICT' })
})

test('revocation cuts off an agent that is connected', async () => {
  const { dir, identity } = await at.enrol('laptop-6', 'none')
  const agent = await startEndpointAgent({ dir, version: 'test', log: silent })
  expect(await agent.untilConnected(20_000)).toBe(true)
  await at.admin.send('POST', `/admin/agents/${identity.id}/revoke`, undefined, z.unknown())
  await until(() => !agent.isConnected, 'the agent was cut off')
  await expect(renewIdentity(dir, identity)).rejects.toMatchObject({ siteCode: 'NOT_ALLOWED' })
  await agent[Symbol.asyncDispose]()
})

/** Which collector said something of which claim. */
function said(all: readonly Observation[]): readonly string[] {
  return all.map(({ claim, collector }) => `${claim} ${collector}`).toSorted()
}

async function quoted(dir: string, extraData: Uint8Array, withLog = true): Promise<Attestation> {
  const attestation = await quoteOver(dir, extraData, { withLog })
  if (attestation === undefined) throw new Error('it has no TPM')
  return attestation
}

/** `trustcast enroll` without a token, which waits. */
async function waitingCommand(args: readonly string[]) {
  const ca = join(at.dir, 'root.pem')
  await writeFile(ca, at.site.address.ca ?? '')
  const program = join(import.meta.dirname, '../trustcast')
  const child: ChildProcess = spawn(program, ['enroll', at.site.url, '--ca', ca, '--tpm', 'none', ...args])
  let text = ''
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (data) => (text += String(data)))
  const exited = once(child, 'exit')
  await until(() => /code: \S+/.test(text) || child.exitCode !== null, 'the code is shown')
  return {
    code: /code: (\S+)/.exec(text)?.[1] ?? `none in ${text}`,
    ended: async (): Promise<unknown> => (await exited)[0],
    [Symbol.asyncDispose]: async () => {
      child.kill()
      await exited
    },
  }
}

async function requestWith(code: string): Promise<z.infer<typeof enrolmentRequestView>> {
  const { requests } = await at.admin.get(
    '/admin/enrolment-requests',
    z.strictObject({ requests: z.array(enrolmentRequestView) }),
  )
  const found = requests.find((one) => one.code === code)
  if (found === undefined) throw new Error(`no request has the code ${code}`)
  return found
}
