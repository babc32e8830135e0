import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { makeClamd } from '#adapters/evidence-linux/clamd.rig.ts'
import { startDesktopBus } from '#adapters/notify-desktop/desktop-bus.rig.ts'
import { enrolAgent } from '#apps/agent-client/index.ts'
import { personView, tokenAnswer } from '#core/api/admin.ts'
import type { DeviceLaunch } from '#core/api/handoff.ts'
import { sessionView, workspaceView } from '#core/api/person.ts'
import { formatLaunchUrl } from '#core/handoff/index.ts'
import { account, codeFor, type RunningService, startService } from './endpoint-service.rig.ts'
import { diskWorkspace, publishForTest } from './published-release.rig.ts'
import { pidsMatching, type RunningSite, type SignedInClient, startSite, until } from './running-site.rig.ts'
import { makeSmallDisk } from './small-disk.rig.ts'

/** The way of a launch from a portal to the service of the device that it is shown on, with a real disk that streams. */

const run = promisify(execFile)
const trustcast = join(import.meta.dirname, '../trustcast')
let site: RunningSite
let ada: SignedInClient
let nora: SignedInClient
let service: RunningService
let undo: AsyncDisposableStack

beforeAll(async () => {
  undo = new AsyncDisposableStack()
  const disk = undo.use(
    await makeSmallDisk('lab', { lab: '/bin/sleep 86123', short: '/bin/echo said-in-the-workspace' }),
  )
  site = undo.use(await startSite({ args: ['--hosts', '1', '--gateways', '1'] }))
  ;[ada, nora] = [await site.signIn('ada'), await site.signIn('nora')]
  await publishForTest(ada, 'lab', disk)
  const short = { image: 'lab', channel: 'production', application: 'short' } as const
  for (const workspace of [
    diskWorkspace('lab'),
    diskWorkspace('lab', { id: 'short', modes: ['streamed-disk'], disk: short }),
  ])
    await ada.send('PUT', `/admin/workspaces/${workspace.id}`, workspace, z.unknown())
  service = undo.use(await startService(site, ada, 'laptop-1'))
  await ada.send('POST', `/admin/endpoints/${service.id}/owner`, { owner: 'nora' }, z.unknown())
}, 240_000)
afterAll(() => undo.disposeAsync())

test('status tells of the folder that is named: by the service where it is its own, else by what lies there', async () => {
  const nowhere = { ...service.env, TRUSTCAST_ENDPOINT: join(site.state, 'none') }
  const named = await run(trustcast, ['status', '--state', service.dir], { env: nowhere })
  expect(named.stdout).toContain(`endpoint ${service.id} of ${site.url}`)
  const dir = join(site.state, 'another')
  const wish = { kind: 'endpoint', name: 'another' }
  const { token } = await ada.send('POST', '/admin/enrolment-tokens', wish, tokenAnswer)
  const { id } = await enrolAgent({ url: site.url, token, dir, kind: 'endpoint' })
  const other = await run(trustcast, ['status', '--state', dir], { env: service.env })
  expect(other.stdout).toContain(`endpoint ${id}, and its service does not run`)
  expect(other.stdout).toContain(`trustcast endpoint --state ${dir}`)
})

test('a browser that has met its device is shown what the device could open, and is given nothing more itself', async () => {
  const before = await workspaceOf(nora, 'lab')
  expect(before.here).toBeUndefined()
  expect(before.decision.outcome?.mode).toBe('hosted-shared')
  expect(await service.launch(await codeFor(nora, { endpointId: service.id }))).toEqual({ kind: 'met' })
  const after = await workspaceOf(nora, 'lab')
  expect(after.here).toMatchObject({
    endpoint: { name: 'laptop-1' },
    decision: { outcome: { mode: 'streamed-disk' } },
  })
  expect(after.decision.outcome).toEqual(before.decision.outcome)
  expect((await service.status()).launches).toEqual([])
})

test('a launch that was handed over runs from the streamed disk as the account of the device, and its person sees how far it is', async () => {
  const answer = await service.launch(await codeFor(nora, { workspaceId: 'lab', endpointId: service.id }))
  const { id } = launchOf(answer)
  await until(async () => (await launchBy(id))?.state === 'open', 'the disk is open')
  await until(async () => (await accountsOf('sleep')).includes(account), 'the application runs')
  const shown = await launchBy(id)
  expect(shown).toMatchObject({ mode: 'streamed-disk', workspace: { id: 'lab' }, person: 'Nora Lind' })
  expect(shown?.stats.bytesFetched).toBeGreaterThan(0)
  expect(shown?.leaseLeftMs).toBeGreaterThan(0)
  await until(
    async () => (await nora.get(`/sessions/${id}`, sessionView)).state === 'ready',
    'the site sees it run',
  )

  const text = await status()
  expect(text).toContain(`endpoint ${service.id} of ${site.url}`)
  expect(text).toMatch(
    /Laboratory \(streamed-disk\) for Nora Lind: .* fetched, \d+ % of it here, lease for \d+ min more/,
  )
}, 120_000)

test('what is taken back says why, and how to go on; the application is gone', async () => {
  const [running] = (await service.status()).launches
  await setGroups('nora', ['contractors'])
  await until(async () => (await launchBy(running?.id ?? ''))?.state === 'ended', 'it was taken back')
  const { end } = (await launchBy(running?.id ?? ''))!
  expect(end).toMatchObject({
    code: 'TRUST_LOST',
    taken: true,
    stepDown: 'hosted-shared',
    reason: expect.any(String),
  })
  await until(async () => (await pidsMatching('/bin/sleep 86123')).length === 0, 'the application is gone')
  expect(await status()).toMatch(/Taken back:\n {2}Laboratory, .*: .+\n[\s\S]*trustcast launch lab/)
  expect(service.log()).toContain('Laboratory was taken back from this device')
  await setGroups('nora', ['employees'])
}, 60_000)

test('what its person ends is not called taken back, and an application that ends by itself is over', async () => {
  await until(
    async () => (await workspaceOf(nora, 'lab')).here?.decision.outcome?.mode === 'streamed-disk',
    'trust is back',
  )
  const before = service.log().length
  const first = launchOf(await service.launch(await codeFor(nora, { workspaceId: 'lab' })))
  await until(async () => (await launchBy(first.id))?.state === 'open', 'the disk is open')
  await nora.send('DELETE', `/sessions/${first.id}`, {}, z.unknown())
  await until(async () => (await launchBy(first.id))?.state === 'ended', 'it is over')
  expect((await launchBy(first.id))?.end).toMatchObject({ taken: false, code: 'SESSION_CLOSED' })
  const second = launchOf(await service.launch(await codeFor(nora, { workspaceId: 'short' })))
  await until(async () => (await launchBy(second.id))?.state === 'ended', 'the application has ended')
  expect((await launchBy(second.id))?.end).toMatchObject({ taken: false, code: 'LEASE_ENDED' })
  // Neither is a failure, and what a workspace says does not stay in the log of the device.
  expect(service.log().slice(before)).not.toMatch(/something failed|said-in-the-workspace/)
}, 120_000)

test('an address of the portal is opened by the service, through its socket', async () => {
  const code = await codeFor(nora, { workspaceId: 'short' })
  const url = formatLaunchUrl({ site: site.url, code })
  const { stdout } = await run(trustcast, ['open', url, '--json'], { env: service.env })
  const opened = JSON.parse(stdout) as { launch: DeviceLaunch }
  expect(opened).toMatchObject({ kind: 'launch', launch: { workspace: { id: 'short' } } })
  await until(async () => (await launchBy(opened.launch.id))?.state === 'ended', 'it ran')
  const foreign = formatLaunchUrl({ site: 'https://evil.example', code })
  await expect(run(trustcast, ['open', foreign], { env: service.env })).rejects.toMatchObject({
    stderr: expect.stringContaining('CLI_OTHER_SITE'),
  })
}, 120_000)

test('what is open in the data centre comes back to the device only when its person says so', async () => {
  const hosted = await site.signIn('nora')
  const { launch } = await import('./hosted-person.rig.ts')
  const { delivery } = await launch(hosted, 'lab')
  await expect(service.launch(await codeFor(hosted, { workspaceId: 'lab' }))).rejects.toThrow(
    'LAUNCH_HOSTED_NOW',
  )
  const back = launchOf(await service.launch(await codeFor(hosted, { workspaceId: 'lab', switch: true })))
  await until(async () => (await launchBy(back.id))?.state === 'open', 'it is open on the device again')
  expect(await hosted.get(`/sessions/${delivery.session.id}`, sessionView)).toMatchObject({ state: 'ended' })
  await hosted.send('DELETE', `/sessions/${back.id}`, {}, z.unknown())
  await until(async () => (await launchBy(back.id))?.state === 'ended', 'it is over')
}, 120_000)

test('whoever is at the desktop is told there what was taken back, why, and what to do', async () => {
  await using bus = await startDesktopBus({ uid: 0, gid: 0 })
  const url = formatLaunchUrl({ site: site.url, code: await codeFor(nora, { workspaceId: 'lab' }) })
  const env = { ...service.env, DBUS_SESSION_BUS_ADDRESS: bus.address }
  const { stdout } = await run(trustcast, ['open', url, '--json'], { env })
  const { launch } = JSON.parse(stdout) as { launch: DeviceLaunch }
  await until(async () => (await launchBy(launch.id))?.state === 'open', 'the disk is open')
  await setGroups('nora', ['contractors'])
  await until(() => bus.notices().length > 0, 'the desktop was told')
  const [notice] = bus.notices()
  expect(notice).toContain('"Laboratory was taken back from this device"')
  expect(notice).toContain('You can go on in the data centre: open your portal and press one button.')
  expect(bus.notices()).toHaveLength(1)
  await setGroups('nora', ['employees'])
}, 120_000)

test('when trust in a device falls on which nothing runs, its person is told there what to do', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'tc-told-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  await using clamd = await makeClamd(dir)
  await clamd.start()
  await writeFile(join(dir, 'posture.yaml'), `clamdConfiguration: ${clamd.configuration}\n`)
  await using bus = await startDesktopBus({ uid: 0, gid: 0 })
  const args = ['--port', '0', '--as', account]
  await using reporting = await startService(site, ada, 'laptop-2', {
    args,
    env: { TRUSTCAST_POSTURE: join(dir, 'posture.yaml') },
  })
  await until(
    async () => (await reporting.status()).evidenceAt !== undefined,
    'the site took its evidence',
    90_000,
  )
  // Who is at this desktop: the portal has met the device from there.
  await ada.send('POST', `/admin/endpoints/${reporting.id}/owner`, { owner: 'nora' }, z.unknown())
  const code = await codeFor(nora, { endpointId: reporting.id })
  const env = { ...reporting.env, DBUS_SESSION_BUS_ADDRESS: bus.address }
  await run(trustcast, ['open', formatLaunchUrl({ site: site.url, code })], { env })
  expect((await reporting.status()).launches).toEqual([])
  await clamd.stop()
  const told = (): string | undefined => bus.notices().find((notice) => notice.includes('Antivirus: off'))
  await until(() => told() !== undefined, 'the desktop was told', 60_000)
  expect(told()).toContain('"Trust in this device has fallen"')
  expect(told()).toContain('Turn on antivirus on this device and update its signatures.')
}, 240_000)

test('what a service that was killed had mounted is gone when the next one runs, wherever that may listen', async () => {
  const [mounts, disks] = ['mounts', 'disks'].map((name) => join(service.env['TRUSTCAST_RUN'] ?? '', name))
  const mounted = async (): Promise<boolean> =>
    (await readFile('/proc/self/mountinfo', 'utf8')).includes(` ${mounts}/`)
  const one = launchOf(await service.launch(await codeFor(nora, { workspaceId: 'lab' })))
  await until(async () => (await launchBy(one.id))?.state === 'open', 'the disk is open')
  expect(await mounted()).toBe(true)
  process.kill(service.pid, 'SIGKILL')
  await until(() => !existsSync(`/proc/${service.pid}`), 'the service is gone')
  // Any account may have taken its place meanwhile.
  await using other = createServer().listen(service.port, '127.0.0.1')
  await once(other, 'listening')
  const words = ['endpoint', '--port', String(service.port), '--as', account, '--no-report']
  const next = spawn(trustcast, words, { env: service.env, stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(next, 'exit')
  let log = ''
  next.stdout.on('data', (data) => (log += String(data)))
  await until(() => log.includes('endpoint service runs'), 'the next service runs')
  await until(async () => (await pidsMatching('/bin/sleep 86123')).length === 0, 'the application is gone')
  expect(log).toContain('SERVICE_PORT_TAKEN')
  expect([await mounted(), await readdir(mounts ?? ''), await readdir(disks ?? '')]).toEqual([false, [], []])
  next.kill('SIGTERM')
  await ended
}, 120_000)

async function launchBy(id: string): Promise<DeviceLaunch | undefined> {
  return (await service.status()).launches.find((one) => one.id === id)
}

function launchOf(answer: Awaited<ReturnType<RunningService['launch']>>): DeviceLaunch {
  if (answer.kind === 'launch') return answer.launch
  throw new Error('expected a launch, the device was only met')
}

/** Whose processes of this name run. */
async function accountsOf(program: string): Promise<readonly string[]> {
  const { stdout } = await run('ps', ['-eo', 'user:32=,comm='])
  const processes = stdout.split('\n').map((line) => line.trim().split(/\s+/))
  return processes.flatMap(([user = '', name]) => (name === program ? [user] : []))
}

async function status(): Promise<string> {
  return (await run(trustcast, ['status'], { env: service.env })).stdout
}

async function workspaceOf(client: SignedInClient, id: string) {
  const { workspaces } = await client.get('/workspaces', z.object({ workspaces: z.array(workspaceView) }))
  return workspaces.find((one) => one.id === id)!
}

async function setGroups(login: string, groups: readonly string[]): Promise<void> {
  const { people } = await ada.get('/admin/people', z.object({ people: z.array(personView) }))
  const person = people.find((one) => one.login === login)
  await ada.send('PATCH', `/admin/people/${person?.id}`, { groups }, z.unknown())
}
