import { spawn } from 'node:child_process'
import { hash } from 'node:crypto'
import { once } from 'node:events'
import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { LocalVms, type LocalVmsOptions, type OpenVm } from '#apps/endpoint/vm/local-vms.ts'
import { vmControlOf } from '#apps/endpoint/vm/vm-control.ts'
import { makeVmFolder, readVms, registerVm, unregisterVm } from '#apps/endpoint/vm/vm-record.ts'
import type { RfbPerson } from '#apps/host/rfb-person.rig.ts'
import { releaseMetadata } from '#apps/site-client/release-metadata.ts'
import { personView, tokenAnswer } from '#core/api/admin.ts'
import { type DataAnswer, type DataCopy, dataAnswer } from '#core/api/data.ts'
import { workspaceView } from '#core/api/person.ts'
import { decodeManifest, encodeManifest } from '#core/artifact/index.ts'
import { pausedGraceMs } from '#core/lease/index.ts'
import { account, codeFor, startService } from './endpoint-service.rig.ts'
import { type EndpointLaunch, type EnrolledEndpoint, enrolEndpoint } from './enrolled-endpoint.rig.ts'
import { diskWorkspace, type ImageForTest, publishForTest } from './published-release.rig.ts'
import {
  passwordOf,
  pidsMatching,
  type RunningSite,
  type SignedInClient,
  startSite,
  until,
} from './running-site.rig.ts'
import { importTinyVm, marker, markerAt, personAt } from './tiny-guest.rig.ts'

/**
 * A local VM, with nothing left out but a person: an image that describes one is imported, signed and published on a real
 * site, launched on an enrolled endpoint, and boots there in QEMU. What is typed at its screen is written by the guest.
 */

vi.setConfig({ testTimeout: 180_000, hookTimeout: 300_000 })

const tinyMebibytes = 24
let folder: string
let site: RunningSite
let ada: SignedInClient
let laptop: EnrolledEndpoint
let tiny: ImageForTest
let undo: AsyncDisposableStack
const inFolder = (name: string): string => join(folder, name)

const policy = (more = ''): string => `
@id("vm-inside")
@overlay("keep")
${more}
permit (principal in Group::"employees", action == Action::"local-vm", resource)
when { context.endpoint.management.value == "managed" };

@id("hosted")
permit (principal, action == Action::"hosted-shared", resource);

@id("works")
permit (principal, action in [Action::"input", Action::"clipboard-in"], resource);
`

beforeAll(async () => {
  undo = new AsyncDisposableStack()
  folder = await mkdtemp('/var/tmp/tc-localvm-')
  undo.defer(() => rm(folder, { recursive: true, force: true }))
  site = undo.use(await startSite({ args: ['--hosts', '1', '--gateways', '1'] }))
  ada = await site.signIn('ada')
  await ada.send('PUT', '/admin/policy', { text: policy() }, z.unknown())
  tiny = await importTinyVm(folder, 'tiny', tinyMebibytes)
  await publishForTest(ada, 'tiny', tiny)
  const modes = ['local-vm', 'hosted-shared'] as const
  const disk = { image: 'tiny', channel: 'production' } as const
  const workspace = diskWorkspace('tiny', { id: 'desk', modes: [...modes], disk })
  await ada.send('PUT', '/admin/workspaces/desk', workspace, z.unknown())
  laptop = undo.use(await enrolEndpoint(site, ada, 'laptop-1'))
})
afterAll(() => undo.disposeAsync())

test('what a VM is stands in what is signed, and is shown', async () => {
  const { stdout } = await site.cli(['image', 'inspect', 'tiny:1', '--store', inFolder('store')])
  expect(stdout).toContain('vm machine    q35 with BIOS, 1 CPU, 32 MiB')
  expect(stdout).toContain('vm network    none')
  await writeFile(inFolder('bad.yaml'), 'memoryMiB: 32\nshare: /home\n')
  const words = ['image', 'import', inFolder('tiny.raw'), 'tiny:9', '--store', inFolder('store')]
  const refused = await site.cli([...words, '--vm', inFolder('bad.yaml')])
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('bad.yaml:2') })
})

test('a browser is given the same workspace from the data centre', async () => {
  const nora = await site.signIn('nora')
  const { workspaces } = await nora.get('/workspaces', z.looseObject({ workspaces: z.array(workspaceView) }))
  const { decision } = workspaces.find(({ id }) => id === 'desk')!
  expect(decision.outcome?.mode).toBe('hosted-shared')
  expect(decision.refused).toMatchObject([{ mode: 'local-vm' }])
})

test('it boots from the stream, is worked with at its screen, pauses, goes on, and keeps what was written', async () => {
  await using vms = localVms()
  const nora = await site.signIn('nora')
  const first = await running(vms, await laptop.launch(nora, 'desk'))
  await typed(first, 'a')
  const runDir = inFolder('run')
  const [record] = await readVms(runDir)
  const control = vmControlOf(runDir, record!)
  expect(await control.status()).toMatchObject({ state: 'running', viewers: 1 })
  await control.suspend()
  expect(await control.status()).toMatchObject({ state: 'suspended' })
  await control.resume()
  await typed(first, 'b')
  expect(await control.snapshot('take', 'at-b')).toMatchObject([{ name: 'at-b' }])
  await typed(first, 'c')
  expect(await onDisk(first)).toBe('c')
  await control.snapshot('return', 'at-b')
  expect(await onDisk(first)).toBe('b')
  await typed(first, 'd')
  await expect(control.snapshot('return', 'nothing')).rejects.toMatchObject({ code: 'SNAPSHOT_UNKNOWN' })
  // One that cannot be copied, as on a device that is full, costs the guest nothing.
  const files = await readdir(join(laptop.dir, 'vms'), { recursive: true })
  const [journal = ''] = files.filter((file) => file.endsWith('at-b/journal'))
  await rm(join(laptop.dir, 'vms', journal))
  await mkdir(join(laptop.dir, 'vms', journal))
  await expect(control.snapshot('return', 'at-b')).rejects.toThrow()
  await typed(first, 'e')
  await control.stop(true)
  expect(await first.end).toMatchObject({ code: 'LEASE_ENDED' })
  expect(await readVms(runDir)).toEqual([])

  const second = await running(vms, await laptop.launch(nora, 'desk'))
  expect(await onDisk(second)).toBe('e')
  await vmControlOf(runDir, second.open.record).stop(true)
  await second.end
})

test('the rest of the image is fetched meanwhile, and then its store is not needed', async () => {
  await using vms = localVms({ backgroundBytesPerSecond: 16 << 20 })
  const nora = await site.signIn('nora')
  const one = await running(vms, await laptop.launch(nora, 'desk'))
  const control = vmControlOf(inFolder('run'), one.open.record)
  await until(async () => (await control.status()).copy.isComplete, 'the copy is complete', 60_000)
  expect((await control.status()).stats.percentLocal).toBe(100)
  await rename(inFolder('store'), inFolder('store-away'))
  try {
    // Reads a part of the disk that nobody has read before, and says so.
    await typed(one, 'e')
    await expect.poll(() => one.person.pictures).toBeGreaterThan(0)
  } finally {
    await rename(inFolder('store-away'), inFolder('store'))
  }
  await control.stop(true)
  await one.end
})

test('a copy that was interrupted goes on where it was', async () => {
  await using fresh = await enrolEndpoint(site, ada, 'laptop-6')
  const nora = await site.signIn('nora')
  const mebibyte = 1 << 20
  let fetched = 0
  {
    await using vms = localVms({ dir: fresh.dir, backgroundBytesPerSecond: 4 * mebibyte })
    const one = await running(vms, await fresh.launch(nora, 'desk'), fresh)
    const control = vmControlOf(inFolder('run'), one.open.record)
    await until(async () => {
      const { copy, stats } = await control.status()
      fetched = stats.bytesFetched
      expect(copy.isComplete).toBe(false)
      return copy.doneBytes > 8 * mebibyte
    }, 'a part of the copy is there')
    await control.stop(true)
    await one.end
  }
  await using vms = localVms({ dir: fresh.dir })
  const again = await running(vms, await fresh.launch(nora, 'desk'), fresh)
  const control = vmControlOf(inFolder('run'), again.open.record)
  await until(async () => (await control.status()).copy.isComplete, 'the copy is complete', 60_000)
  // Nothing of the disk compresses. Beside it there is an index.
  const rest = tinyMebibytes * mebibyte - fetched
  expect((await control.status()).stats.bytesFetched).toBeLessThan(rest + mebibyte)
  expect(fetched).toBeGreaterThan(7 * mebibyte)
  await control.stop(true)
  await again.end
})

test('what a portal opens fetches no more beside what is read than its service may', async () => {
  const rate = 256 << 10
  const args = ['--port', '0', '--as', account, '--no-report', '--background-rate', '256K']
  await using service = await startService(site, ada, 'laptop-7', { args })
  const nora = await site.signIn('nora')
  const began = performance.now()
  const answer = await service.launch(await codeFor(nora, { workspaceId: 'desk', endpointId: service.id }))
  const shown = async () => (await service.status()).launches[0]
  await until(async () => (await shown())?.state === 'open', `it is open: ${JSON.stringify(answer)}`, 60_000)
  await new Promise((resolve) => setTimeout(resolve, 2_000))
  const { stats, id, mode } = (await shown())!
  const tookSec = (performance.now() - began) / 1000
  expect(mode).toBe('local-vm')
  // What the guest read itself, and what was read ahead of it, is not held back.
  expect(stats.bytesFetched).toBeLessThan(2 * rate * tookSec + (2 << 20))
  expect(stats.bytesFetched).toBeGreaterThan(rate)
  await nora.send('DELETE', `/sessions/${id}`, undefined, z.unknown())
  await until(async () => (await shown())?.state === 'ended', 'it has ended')
})

test('with its copy complete it works without the site and its store until the lease ends, and then nothing of it is left', async () => {
  await using fresh = await enrolEndpoint(site, ada, 'laptop-8')
  await using vms = localVms({ dir: fresh.dir })
  const nora = await site.signIn('nora')
  const one = await running(vms, await fresh.launch(nora, 'desk'), fresh)
  const control = vmControlOf(inFolder('run'), one.open.record)
  await until(async () => (await control.status()).copy.isComplete, 'the copy is complete', 60_000)
  const siteProcesses = await site.pidsOf('site')
  await rename(inFolder('store'), inFolder('store-away'))
  for (const pid of siteProcesses) process.kill(pid, 'SIGSTOP')
  try {
    await typed(one, 't')
    expect(one.open.vm.state).toBe('running')
    // A lease lives for 15 minutes without a word of the site.
    fresh.skewMs += 8 * 60_000
    await typed(one, 'u')
    fresh.skewMs += 8 * 60_000
    expect(await one.end).toMatchObject({ code: 'LEASE_EXPIRED' })
    await until(async () => (await stateOf(one.open.vm.pid)) === 'gone', 'QEMU is gone')
    expect((await filesIn(fresh.dir)).some((file) => file.includes('/vms/') && file.endsWith('/data'))).toBe(
      true,
    )
    expect(await plaintextIn(fresh.dir)).toEqual([])
    expect(await plaintextIn(inFolder('run'))).toEqual([])
  } finally {
    for (const pid of siteProcesses) process.kill(pid, 'SIGCONT')
    await rename(inFolder('store-away'), inFolder('store'))
  }
})

test('what the decision permits passes its screen, also when it changes meanwhile', async () => {
  await using vms = localVms()
  const nora = await site.signIn('nora')
  const one = await running(vms, await laptop.launch(nora, 'desk'))
  await typed(one, 'f')
  await ada.send('PUT', '/admin/policy', { text: policy().replace('Action::"input", ', '') }, z.unknown())
  await until(async () => {
    one.person.type('g')
    await new Promise((resolve) => setTimeout(resolve, 300))
    const before = await onDisk(one)
    one.person.type(before === 'h' ? 'i' : 'h')
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    return (await onDisk(one)) === before
  }, 'keys do not pass any more')
  await ada.send('PUT', '/admin/policy', { text: policy() }, z.unknown())
  await typed(one, 'j')
  await vmControlOf(inFolder('run'), one.open.record).stop(true)
  await one.end
})

test('a VM that nobody uses ends, as a hosted session does', async () => {
  await using vms = localVms()
  const nora = await site.signIn('nora')
  await ada.send('PUT', '/admin/policy', { text: policy('@idleMinutes("1")') }, z.unknown())
  const one = await running(vms, await laptop.launch(nora, 'desk'))
  await typed(one, 'n')
  // Also while the device sleeps.
  laptop.skewMs += 60_000
  expect(await one.end).toMatchObject({ code: 'LEASE_ENDED' })
  await ada.send('PUT', '/admin/policy', { text: policy() }, z.unknown())
})

test('when trust is lost it is paused without a key, and goes on where it was when its person launches it again', async () => {
  await using vms = localVms()
  const nora = await site.signIn('nora')
  const made = await laptop.launch(nora, 'desk')
  const one = await running(vms, made)
  await typed(one, 'k')
  const { pid } = one.open.vm
  await setGroups('nora', ['contractors'])
  expect(await one.end).toMatchObject({ notice: { code: 'TRUST_LOST', stepDown: 'hosted-shared' } })
  expect(one.open.vm.state).toBe('withdrawn')
  const { id: person } = one.open.record.person
  expect(vms.waiting(person, 'desk')).toBe(one.open.vm)
  expect(vms.waiting(crypto.randomUUID(), 'desk')).toBeUndefined()
  await until(async () => (await copiesOn('laptop-1'))[0]?.state === 'paused', 'the data page says so')
  expect(await copiesOn('laptop-1')).toMatchObject([
    {
      leaseId: leaseOf(made),
      state: 'paused',
      protection: ['paused-in-memory', 'overlay-kept'],
      notice: { code: 'TRUST_LOST' },
    },
  ])
  expect(one.person.closedBy).toBeDefined()
  expect(await stateOf(pid)).toBe('alive')
  const control = vmControlOf(inFolder('run'), one.open.record)
  await expect(control.resume()).rejects.toMatchObject({ code: 'LOCAL_VM_WITHDRAWN' })
  expect(await plaintextIn(laptop.dir)).toEqual([])

  await setGroups('nora', ['employees'])
  const again = await running(vms, await laptop.launch(nora, 'desk'))
  expect(again.open.vm.pid).toBe(pid)
  await typed(again, 'l')
  // What was in memory goes on under the new lease.
  await until(async () => (await copiesOn('laptop-1')).length === 1, 'there is one copy again')
  expect(await copiesOn('laptop-1')).toMatchObject([{ state: 'held' }])
  await control.stop(true)
  await again.end
})

test('what its person has it do at that moment does not let it go on, and work on its disk is not disturbed', async () => {
  await using vms = localVms()
  const nora = await site.signIn('nora')
  const one = await running(vms, await laptop.launch(nora, 'desk'))
  const { vm } = one.open
  const control = vmControlOf(inFolder('run'), one.open.record)
  const names = ['first', 'second', 'third']
  await Promise.all(names.map((name) => control.snapshot('take', name)))
  expect((await control.snapshot('list', '')).map(({ name }) => name)).toEqual(expect.arrayContaining(names))
  const work = Promise.withResolvers<void>()
  const working = vm.whilePaused(() => work.promise)
  for (const act of [vm.suspend(), vm.resume(), vm.whilePaused(() => work.promise)])
    await expect(act).rejects.toMatchObject({ code: 'LOCAL_VM_BUSY' })
  work.resolve()
  await working
  expect(vm.state).toBe('running')
  // Also one that stands still already must not be let go on meanwhile.
  await vm.suspend()
  const later = Promise.withResolvers<void>()
  const copying = vm.whilePaused(() => later.promise)
  await expect(vm.resume()).rejects.toMatchObject({ code: 'LOCAL_VM_BUSY' })
  later.resolve()
  await copying
  expect(vm.state).toBe('suspended')
  await vm.resume()

  const suspending = vm.suspend()
  const taking = vm.pauseForGood()
  await expect(suspending).rejects.toMatchObject({ code: 'LOCAL_VM_WITHDRAWN' })
  expect(await taking).toBe(true)
  expect(vm.state).toBe('withdrawn')
  await expect(vm.resume()).rejects.toMatchObject({ code: 'LOCAL_VM_WITHDRAWN' })
  await control.stop(true)
  await one.end
})

test('a guest is asked to shut down before its service ends, and is not waited for without end', async () => {
  await using vms = localVms()
  const nora = await site.signIn('nora')
  const one = await running(vms, await laptop.launch(nora, 'desk'))
  await one.open.vm.suspend()
  // This guest does not listen; but one that stands still must go on to hear it.
  await vms.shutDown(200)
  expect(one.open.vm.state).toBe('running')
  await one.open.vm.shutDown(true)
  await one.end
})

test('one that could not be opened to its end does not run on', async () => {
  await using vms = localVms()
  const nora = await site.signIn('nora')
  const { delivery, nonce, askedAt } = await laptop.launch(nora, 'desk')
  if (delivery.kind !== 'local-vm') throw new Error(`expected a VM, got ${delivery.kind}`)
  let pid = 0
  const onOpen = (open: OpenVm): void => {
    ;({ pid } = open.vm)
    throw new Error('no viewer')
  }
  await expect(vms.run(laptop.agent, { delivery, nonce, askedAt, onOpen })).rejects.toThrow('no viewer')
  expect(await stateOf(pid)).toBe('gone')
})

test('a paused VM in which nothing was written is shown until its memory is gone', async () => {
  await using fresh = await enrolEndpoint(site, ada, 'laptop-4')
  await using vms = localVms({ dir: fresh.dir })
  const nora = await site.signIn('nora')
  const one = await running(vms, await fresh.launch(nora, 'desk'), fresh)
  const { pid } = one.open.vm
  await setGroups('nora', ['contractors'])
  await one.end
  await until(async () => (await copiesOn('laptop-4'))[0]?.state === 'paused', 'the data page says so')
  const { copies, summary } = await dataNow()
  expect(summary.readable).toBe(
    copies.filter(({ state, place }) => place === 'endpoint' && state !== 'kept').length,
  )
  const [shown] = copies.filter(({ machine }) => machine.name === 'laptop-4')
  expect(shown?.stats?.bytesWritten).toBe(0)
  expect(await stateOf(pid)).toBe('alive')
  // As after a sleep, in which no timer goes on.
  fresh.skewMs += pausedGraceMs
  await until(async () => (await copiesOn('laptop-4')).length === 0, 'the data page says that it is gone')
  expect(await stateOf(pid)).toBe('gone')
  await setGroups('nora', ['employees'])
})

test('an endpoint whose service ends leaves nothing in memory, and says so', async () => {
  await using fresh = await enrolEndpoint(site, ada, 'laptop-5')
  await using vms = localVms({ dir: fresh.dir })
  const nora = await site.signIn('nora')
  const one = await running(vms, await fresh.launch(nora, 'desk'), fresh)
  await setGroups('nora', ['contractors'])
  await one.end
  await until(async () => (await copiesOn('laptop-5'))[0]?.state === 'paused', 'the data page says so')
  await fresh.agent[Symbol.asyncDispose]()
  expect(await stateOf(one.open.vm.pid)).toBe('gone')
  await until(async () => (await copiesOn('laptop-5')).length === 0, 'the data page says that it is gone')
  await setGroups('nora', ['employees'])
})

test('after revocation nothing of it runs, and what is left on the disk yields no plaintext', async () => {
  await using stolen = await enrolEndpoint(site, ada, 'laptop-2')
  await using vms = localVms({ dir: stolen.dir })
  const nora = await site.signIn('nora')
  const one = await running(vms, await stolen.launch(nora, 'desk'), stolen)
  await typed(one, 'm')
  const { pid } = one.open.vm
  await ada.send('POST', `/admin/agents/${stolen.agent.id}/revoke`, undefined, z.unknown())
  expect(await one.end).toMatchObject({ code: 'LEASE_WITHDRAWN' })
  await until(async () => (await stateOf(pid)) === 'gone', 'QEMU is gone')
  expect(await readVms(inFolder('run'))).toEqual([])
  const files = await filesIn(stolen.dir)
  expect(files.some((file) => file.includes('/vms/') && file.endsWith('/data'))).toBe(true)
  expect(await plaintextIn(stolen.dir)).toEqual([])
  expect(await plaintextIn(inFolder('run'))).toEqual([])
})

test('a VM of a release before the one that this machine has accepted does not start, and one that waits does not go on', async () => {
  await using fresh = await enrolEndpoint(site, ada, 'laptop-9')
  await using vms = localVms({ dir: fresh.dir })
  const nora = await site.signIn('nora')
  const one = await running(vms, await fresh.launch(nora, 'desk'), fresh)
  await typed(one, 'w')
  await setGroups('nora', ['contractors'])
  expect(await one.end).toMatchObject({ notice: { code: 'TRUST_LOST' } })
  expect(one.open.vm.state).toBe('withdrawn')
  await setGroups('nora', ['employees'])
  // A newer one was accepted here meanwhile, as by another workspace of the same image; the site says the older one.
  expect(await readdir(join(fresh.dir, 'floors'))).toEqual(['tiny@1'])
  await rename(join(fresh.dir, 'floors/tiny@1'), join(fresh.dir, 'floors/tiny@2'))
  const refused = { code: 'RELEASE_ROLLBACK', remedy: expect.any(String) }
  await expect(running(vms, await fresh.launch(nora, 'desk'), fresh)).rejects.toMatchObject(refused)
  expect(one.open.vm.state).toBe('withdrawn')
  await expect(one.open.vm.resume()).rejects.toMatchObject({ code: 'LOCAL_VM_WITHDRAWN' })
  await using others = localVms({ dir: fresh.dir, runDir: inFolder('run-9') })
  await expect(running(others, await fresh.launch(nora, 'desk'), fresh)).rejects.toMatchObject(refused)
  expect(await readVms(inFolder('run-9'))).toEqual([])
})

test('a VM that nobody signed does not start', async () => {
  // Whoever has the store gives the machine more than was signed.
  const altered = inFolder('store-altered')
  await cp(inFolder('store'), altered, { recursive: true })
  const path = join(altered, 'blobs/sha256', hash('sha256', tiny.manifest))
  const manifest = decodeManifest(await readFile(path))
  const vm = { ...manifest.vm!, memoryMiB: 4096 }
  await writeFile(path, encodeManifest({ ...manifest, vm }))
  await using fresh = await enrolEndpoint(site, ada, 'laptop-3')
  await using vms = localVms({ dir: fresh.dir })
  const nora = await site.signIn('nora')
  const made = await fresh.launch(nora, 'desk')
  if (made.delivery.kind !== 'local-vm') throw new Error('expected a VM')
  const delivery = { ...made.delivery, stores: [altered] }
  await expect(running(vms, { ...made, delivery }, fresh)).rejects.toMatchObject({
    code: expect.stringMatching(/^(BLOB_WRONG_ANSWER|ARTIFACT_OTHER_IMAGE|ARTIFACT_BAD_MANIFEST)$/),
  })
  expect(await readVms(inFolder('run'))).toEqual([])
})

test('the command line runs it, lists it, and ends it; another launch lets one go on that waits', async () => {
  const state = inFolder('desk-state')
  const env = {
    ...process.env,
    TRUSTCAST_LOGIN: inFolder('desk-login.json'),
    TRUSTCAST_ENDPOINT: state,
    TRUSTCAST_RUN: inFolder('desk-run'),
  }
  const cli = async (args: readonly string[], input = '') => {
    const child = spawn(join(import.meta.dirname, '..', 'trustcast'), args, {
      env,
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    let [stdout, stderr] = ['', '']
    child.stdout.on('data', (text) => (stdout += String(text)))
    child.stderr.on('data', (text) => (stderr += String(text)))
    child.stdin.end(input)
    const ended = once(child, 'close').then(([code]: unknown[]) => ({ code, stdout, stderr }))
    return { child, ended, output: () => stdout + stderr }
  }
  const token = await ada.send(
    'POST',
    '/admin/enrolment-tokens',
    { kind: 'endpoint', name: 'desk' },
    tokenAnswer,
  )
  await writeFile(inFolder('root.crt'), site.address.ca ?? '')
  expect(
    await (await cli(['enroll', site.url, '--token', token.token, '--state', state])).ended,
  ).toMatchObject({ code: 0 })
  const signIn = ['login', site.url, '--user', 'nora', '--ca', inFolder('root.crt')]
  expect(await (await cli(signIn, `${passwordOf('nora')}\n`)).ended).toMatchObject({ code: 0 })

  const launched = await cli(['launch', 'desk'])
  try {
    await until(() => /screen is on (\S+)/.test(launched.output()), `it runs: ${launched.output()}`, 60_000)
    const display = /screen is on (\S+)/.exec(launched.output())?.[1] ?? ''
    const person = personAt(connect(display))
    await person.ready
    const listed = await (await cli(['vm', 'list'])).ended
    expect(listed.stdout).toMatch(/desk\s+Nora\S* \S+\s+running\s+tiny:1/)
    // One that does not answer hides no other.
    const [record] = await readVms(env.TRUSTCAST_RUN)
    const silent = await makeVmFolder(env.TRUSTCAST_RUN, 'deadbeef')
    await registerVm(silent, { ...record!, id: 'deadbeef' })
    const both = (await (await cli(['vm', 'list'])).ended).stdout
    expect([/ running /.test(both), /deadbeef .* does not answer /.test(both)]).toEqual([true, true])
    await unregisterVm(silent)
    await setGroups('nora', ['contractors'])
    await until(() => launched.output().includes('is paused and waits'), 'it waits')
    expect(launched.output()).toContain('Go on in the data centre')
    await setGroups('nora', ['employees'])
    expect(await (await cli(['launch', 'desk'])).ended).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('goes on'),
    })
    expect(await (await cli(['vm', 'suspend', 'desk'])).ended).toMatchObject({ code: 0 })
    expect((await (await cli(['vm', 'list'])).ended).stdout).toContain('suspended')
    expect(await (await cli(['vm', 'stop', 'desk', '--force'])).ended).toMatchObject({ code: 0 })
    expect(await launched.ended).toMatchObject({ code: 0 })
    expect((await (await cli(['vm', 'list'])).ended).stdout).toContain('No VM runs here')
  } finally {
    launched.child.kill('SIGKILL')
  }
  expect(await pidsMatching('process=trustcast-vm')).toEqual([])
})

test('what is written in it is in the data centre where the policy says so, is shown there, and is gone on with elsewhere', async () => {
  await ada.send('PUT', '/admin/policy', { text: policy().replace('"keep"', '"replicate"') }, z.unknown())
  await using spare = await enrolEndpoint(site, ada, 'laptop-spare')
  const more = { replicaIntervalMs: 200 }
  await using vms = localVms(more)
  await using elsewhere = localVms({ ...more, dir: spare.dir, runDir: inFolder('run-spare') })
  const nora = await site.signIn('nora')
  const one = await running(vms, await laptop.launch(nora, 'desk'))
  await typed(one, 'r')
  const control = vmControlOf(inFolder('run'), one.open.record)
  await until(async () => {
    const { replica } = await control.status()
    return replica?.copiedAt !== undefined && replica.waitingBytes === 0
  }, 'what was written is in the data centre')
  process.env['TRUSTCAST_RUN'] = inFolder('run')
  const { stdout } = await site.cli(['vm', 'list'])
  expect(stdout).toMatch(/DATA CENTRE[\s\S]*\d{4}-\d\d-\d\dT/)
  delete process.env['TRUSTCAST_RUN']

  // Taken back, it waits; meanwhile its person goes on elsewhere.
  await setGroups('nora', ['contractors'])
  expect(await one.end).toMatchObject({ notice: { code: 'TRUST_LOST' } })
  await setGroups('nora', ['employees'])
  await until(async () => {
    const { sessions } = await nora.get('/sessions', z.looseObject({ sessions: z.array(z.unknown()) }))
    return sessions.length === 0
  }, 'its session has ended')
  const two = await running(elsewhere, await spare.launch(nora, 'desk'), spare)
  expect(await onDisk(two)).toBe('r')
  await typed(two, 's')
  await vmControlOf(inFolder('run-spare'), two.open.record).stop(true)
  await two.end
  expect(one.open.vm.state).toBe('withdrawn')

  // What is in its memory does not fit the disk that it is given now: it starts anew.
  const three = await running(vms, await untilLaunched(nora))
  expect(one.open.vm.state).toBe('ended')
  expect(three.open.vm).not.toBe(one.open.vm)
  expect(await onDisk(three)).toBe('s')
  await vmControlOf(inFolder('run'), three.open.record).stop(true)
  await three.end
  await ada.send('PUT', '/admin/policy', { text: policy() }, z.unknown())
})

/** As soon as the site has heard that it is over elsewhere. */
async function untilLaunched(client: SignedInClient): Promise<EndpointLaunch> {
  let launched: EndpointLaunch | undefined
  await until(async () => {
    launched = await laptop.launch(client, 'desk').catch(() => undefined)
    return launched !== undefined
  }, 'it can be launched')
  return launched!
}

interface RunningVm {
  readonly open: OpenVm
  readonly person: RfbPerson
  readonly end: ReturnType<LocalVms['run']>
}

function localVms(more: Partial<LocalVmsOptions> = {}): LocalVms {
  return new LocalVms({
    dir: laptop.dir,
    runDir: inFolder('run'),
    memoryBytes: 16 << 20,
    storeOptions: {},
    fetch: releaseMetadata(site.address),
    warn: () => undefined,
    ...more,
  })
}

/** Runs what was delivered until it is open, and sits down at its screen. */
async function running(vms: LocalVms, made: EndpointLaunch, endpoint = laptop): Promise<RunningVm> {
  const { delivery, nonce, askedAt } = made
  if (delivery.kind !== 'local-vm') throw new Error(`expected a VM, got ${delivery.kind}`)
  const opened = Promise.withResolvers<OpenVm>()
  const end = vms.run(endpoint.agent, { delivery, nonce, askedAt, onOpen: opened.resolve })
  end.catch(opened.reject)
  const open = await opened.promise
  const person = personAt(connect(open.record.display))
  await person.ready
  return { open, person, end }
}

/** Presses a key until the guest has written it: one that boots may miss the first. */
async function typed(one: RunningVm, key: string): Promise<void> {
  let tries = 0
  await until(async () => {
    if (tries++ % 20 === 0) one.person.type(key)
    return (await onDisk(one)) === key
  }, `the guest has written ${key}`)
}

/** The key that the guest wrote last, as its disk has it. */
async function onDisk({ open }: RunningVm): Promise<string> {
  return open.vm.peek(markerAt, marker.length + 1).then((bytes) => {
    const text = Buffer.from(bytes).toString('latin1')
    return text.startsWith(marker) ? text.slice(marker.length) : ''
  })
}

async function dataNow(): Promise<DataAnswer> {
  return ada.get('/data', dataAnswer)
}

async function copiesOn(machineName: string): Promise<readonly DataCopy[]> {
  return (await dataNow()).copies.filter(({ machine }) => machine.name === machineName)
}

function leaseOf({ delivery }: EndpointLaunch): string {
  return 'lease' in delivery ? delivery.lease.id : ''
}

async function setGroups(login: string, groups: readonly string[]): Promise<void> {
  const { people } = await ada.get('/admin/people', z.object({ people: z.array(personView) }))
  const person = people.find((one) => one.login === login)
  await ada.send('PATCH', `/admin/people/${person?.id}`, { groups }, z.unknown())
}

async function filesIn(dir: string): Promise<readonly string[]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name))
}

/** Files that hold what the guest wrote, or its first sector, as they are. */
async function plaintextIn(dir: string): Promise<readonly string[]> {
  await mkdir(dir, { recursive: true })
  const found: string[] = []
  for (const file of await filesIn(dir)) {
    const bytes = await readFile(file)
    if (bytes.includes(marker) || bytes.includes('Trustcast guest')) found.push(file)
  }
  return found
}

async function stateOf(pid: number): Promise<'alive' | 'gone'> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ') Z')
  return stat.includes(') Z') ? 'gone' : 'alive'
}
