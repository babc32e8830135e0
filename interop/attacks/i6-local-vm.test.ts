import { execFile } from 'node:child_process'
import { readlink, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { vmControlOf } from '#apps/endpoint/vm/vm-control.ts'
import { readVms } from '#apps/endpoint/vm/vm-record.ts'
import { deviceDisplayAnswer } from '#core/api/handoff.ts'
import { type Account, callAs, games, nobody } from '../as-account.rig.ts'
import { commandAs, type DeskVm, openDesk, policy, startDeskVm } from '../desk-vm.rig.ts'
import { openScreen, protocolsOf, type ScreenRequest } from '../device-screen.rig.ts'
import { type DeviceAnswer, type RunningService, startService } from '../endpoint-service.rig.ts'
import { pidsMatching, until } from '../running-site.rig.ts'
import { personAt } from '../tiny-guest.rig.ts'

/**
 * I6, for a virtual machine that the service of a device runs for one of its people. Whoever is not a page of the site, of the account that may
 * see it, with a ticket that is fresh and unused, is shown nothing and types nothing; and no other account does anything to it.
 */
vi.setConfig({ testTimeout: 120_000, hookTimeout: 300_000 })

const run = promisify(execFile)
let desk: DeskVm
let service: RunningService
let session: string

beforeAll(async () => {
  desk = await startDeskVm()
  service = desk.service
})
afterAll(() => desk[Symbol.asyncDispose]())

test('an ordinary account of the device has an address of the portal opened, as itself', async () => {
  session = await openDesk(desk, games)
  expect((await commandAs(games, ['status'], service)).stdout).toContain(
    'Laboratory (local-vm) for Nora Lind',
  )
  expect((await commandAs(nobody, ['status'], service)).stdout).toContain('Nothing runs from here.')
})

test('the account of its QEMU reads nothing of the endpoint', async () => {
  const runDir = service.env['TRUSTCAST_RUN'] ?? ''
  const mine = async (pid: number): Promise<boolean> =>
    (await readlink(`/proc/${pid}/cwd`)).startsWith(`${runDir}/`)
  const pids = await pidsMatching('process=trustcast-vm')
  const [pid] = (await Promise.all(pids.map(async (one) => ((await mine(one)) ? [one] : [])))).flat()
  const { uid, gid } = await stat(`/proc/${pid}`)
  expect(uid).toBeGreaterThan(1_900_000_000)
  const [vm] = await readVms(runDir)
  const folders = [service.dir, join(service.dir, 'copies'), join(service.dir, 'vms'), join(runDir, 'vms')]
  const files = [join(service.dir, 'agent.json'), join(service.dir, 'seal-key'), vm?.display ?? '']
  for (const [program, paths] of [
    ['ls', folders],
    ['cat', files],
  ] as const)
    for (const path of paths) {
      await stat(path)
      const tried = run(program, [path], { uid, gid, env: { LC_ALL: 'C', PATH: '/usr/bin:/bin' } })
      await expect(tried, path).rejects.toMatchObject({
        stderr: expect.stringContaining('Permission denied'),
      })
    }
})

test('its person looks after it from the command line, and no other account does', async () => {
  for (const words of [['suspend'], ['resume'], ['stop', '--force'], ['snapshot', 'take']]) {
    const name = words[0] === 'snapshot' ? ['mine'] : []
    const refused = await commandAs(nobody, ['vm', ...words, 'desk', ...name], service)
    expect(refused, words.join(' ')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('LOCAL_VM_UNKNOWN'),
    })
  }
  expect((await commandAs(nobody, ['vm', 'list'], service)).stdout).toContain('No VM runs here.')
  expect(await stateFor(games)).toBe('running')
  const { id } = (await readVms(service.env['TRUSTCAST_RUN'] ?? ''))[0]!
  const guessed = await callAs(nobody, 'device-socket.rig.ts', 'askSocket', [
    `${service.env['TRUSTCAST_RUN']}/endpoint.sock`,
    `/vms/${id}`,
    { suspend: true },
  ])
  expect(guessed).toMatchObject({ status: 404, answer: { code: 'LOCAL_VM_UNKNOWN' } })

  expect((await commandAs(games, ['vm', 'suspend', 'desk'], service)).stdout).toContain('Paused: Laboratory')
  expect(await stateFor(games)).toBe('suspended')
  expect((await commandAs(games, ['vm', 'resume', 'desk'], service)).stdout).toContain('Goes on: Laboratory')
  expect((await commandAs(games, ['vm', 'snapshot', 'take', 'desk', 'mine'], service)).stdout).toMatch(
    /^mine /m,
  )
  expect((await commandAs(games, ['vm', 'snapshot', 'remove', 'desk', 'mine'], service)).stdout).toContain(
    'no snapshot',
  )
  const unknown = await commandAs(games, ['vm', 'snapshot', 'return', 'desk', 'nothing'], service)
  expect(unknown.stderr).toContain('SNAPSHOT_UNKNOWN')
  expect(await stateFor(games)).toBe('running')
})

test('where one group alone may ask the service, nobody else can', async () => {
  const args = ['--port', '0', '--no-report', '--group', 'games']
  await using closed = await startService(desk.site, desk.ada, 'laptop-2', { args })
  expect((await commandAs(games, ['status'], closed)).stdout).toContain(`endpoint ${closed.id}`)
  expect(await commandAs(nobody, ['status'], closed)).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('CLI_NO_SERVICE'),
  })
})

test('a page of the site, of the same account, is shown the screen once for each ticket', async () => {
  const ticket = await ticketFor(session)
  const opened = await openScreen(request({ protocols: protocolsOf(ticket) }))
  if (!('stream' in opened)) throw new Error(`it was refused: ${opened.code}`)
  const person = personAt(opened.stream)
  let marks = 0
  // Of the watermark alone; a screen of text has other colours.
  person.onPicture = (pixels) => {
    for (let at = 0; at < pixels.length; at += 4) if (pixels.readUIntLE(at, 3) === 0xc8c8c8) marks += 1
  }
  await person.ready
  await until(() => person.pictures > 0, 'there is a picture')
  expect(marks).toBe(0)
  const marked = policy.replace('@id("works")', '@id("works")\n@watermark("true")')
  await desk.ada.send('PUT', '/admin/policy', { text: marked }, z.unknown())
  await until(() => marks > 100, 'the watermark stands over it')
  await desk.ada.send('PUT', '/admin/policy', { text: policy }, z.unknown())
  expect(await openScreen(request({ protocols: protocolsOf(ticket) }))).toEqual({
    status: 403,
    code: 'SERVICE_TICKET_REFUSED',
  })
  opened.stream.destroy()
  const [vm] = await readVms(service.env['TRUSTCAST_RUN'] ?? '')
  const control = vmControlOf(service.env['TRUSTCAST_RUN'] ?? '', vm!)
  await until(async () => (await control.status()).viewers === 0, 'nobody looks on any more')
})

test('so is a page in a browser of the account that opened it', async () => {
  const { text } = (await askAs(games, session)) as { text: string }
  const { ticket } = deviceDisplayAnswer.parse(JSON.parse(text))
  const opened = await callAs(games, 'device-screen.rig.ts', 'outcomeOf', [
    request({ protocols: protocolsOf(ticket) }),
  ])
  expect(opened).toBe('OPEN')
})

test('a WebSocket of another page, by another name, or without a ticket that was given out, is refused', async () => {
  const ticket = await ticketFor(session)
  const tries: Readonly<Record<string, [Partial<ScreenRequest>, string]>> = {
    'another site': [{ origin: 'https://evil.example' }, 'DEVICE_ORIGIN_REFUSED'],
    'a page without an origin, such as a file': [{ origin: 'null' }, 'DEVICE_ORIGIN_REFUSED'],
    'a page on another port of the site': [{ origin: 'https://localhost:1' }, 'DEVICE_ORIGIN_REFUSED'],
    'a name that was made to point here': [
      { host: `rebind.evil.example:${service.port}` },
      'DEVICE_HOST_REFUSED',
    ],
    'another way in': [{ path: `/display?ticket=${ticket}` }, 'DEVICE_NO_ROUTE'],
    'the state of the device by WebSocket': [{ path: '/status' }, 'DEVICE_NO_ROUTE'],
    'no ticket': [{ protocols: ['trustcast.display'] }, 'DEVICE_NO_TICKET'],
    'a guessed one': [{ protocols: protocolsOf('A'.repeat(43)) }, 'SERVICE_TICKET_REFUSED'],
    'the id of the session as one': [{ protocols: protocolsOf(session) }, 'SERVICE_TICKET_REFUSED'],
  }
  for (const [what, [change, expected]] of Object.entries(tries))
    expect(await openScreen(request({ protocols: protocolsOf(ticket), ...change })), what).toMatchObject({
      code: expected,
    })
  // None of that has spent the ticket.
  expect(await openScreen(request({ protocols: protocolsOf(ticket) }))).toHaveProperty('stream')
})

test('another account of the device gets no ticket, and opens nothing with one that it has come by', async () => {
  const asked = await askAs(nobody, session)
  expect(JSON.parse(asked.text)).toMatchObject({ code: 'SERVICE_NO_SCREEN' })
  // Nor does it learn that there is something.
  expect((await askAs(nobody, '00000000-0000-4000-8000-000000000000')).text).toBe(asked.text)
  const protocols = protocolsOf(await ticketFor(session))
  const stolen = await callAs(nobody, 'device-screen.rig.ts', 'outcomeOf', [request({ protocols })])
  expect(stolen).toBe('SERVICE_TICKET_REFUSED')
  expect(await openScreen(request({ protocols }))).toMatchObject({ code: 'SERVICE_TICKET_REFUSED' })
})

test('a foreign page gets no leave to ask for a ticket', async () => {
  const ask = { method: 'POST', path: '/display', body: bodyOf(session) }
  const foreign = await service.ask({ ...ask, headers: { origin: 'https://evil.example' } })
  expect(JSON.parse(foreign.text)).toMatchObject({ code: 'DEVICE_ORIGIN_REFUSED' })
  const form = await service.ask({ ...ask, headers: { 'content-type': 'text/plain' } })
  expect(JSON.parse(form.text)).toMatchObject({ code: 'DEVICE_NOT_JSON' })
})

test('when the session is over its screen closes, and neither an old ticket nor a new one opens it', async () => {
  const [early, ticket] = [await ticketFor(session), await ticketFor(session)]
  const opened = await openScreen(request({ protocols: protocolsOf(ticket) }))
  if (!('stream' in opened)) throw new Error(`it was refused: ${opened.code}`)
  const person = personAt(opened.stream)
  await person.ready
  await desk.nora.send('DELETE', `/sessions/${session}`, {}, z.unknown())
  await until(() => person.closedBy !== undefined, 'the screen closed')
  const late = await openScreen(request({ protocols: protocolsOf(early) }))
  if ('stream' in late) await until(() => late.stream.destroyed, 'nothing is shown')
  await until(
    async () => (await service.status()).launches.every(({ state }) => state === 'ended'),
    'it is over',
  )
  await expect(ticketFor(session)).rejects.toThrow('SERVICE_NO_SCREEN')
})

async function stateFor(account: Account): Promise<string | undefined> {
  const { stdout } = await commandAs(account, ['vm', 'list', '--json'], service)
  return (JSON.parse(stdout) as { vms: { state: string }[] }).vms[0]?.state
}

function request(change: Partial<ScreenRequest>): ScreenRequest {
  return { port: service.port, origin: desk.site.url, ...change }
}

const bodyOf = (sessionId: string): string => JSON.stringify({ sessionId })

async function askAs(account: Account, sessionId: string): Promise<DeviceAnswer> {
  const ask = { method: 'POST', path: '/display', body: bodyOf(sessionId) }
  return (await callAs(account, 'endpoint-service.rig.ts', 'askDevice', [
    service.port,
    desk.site.url,
    ask,
  ])) as DeviceAnswer
}

async function ticketFor(sessionId: string): Promise<string> {
  const { status, text } = await service.ask({ method: 'POST', path: '/display', body: bodyOf(sessionId) })
  if (status !== 200) throw new Error(text)
  return deviceDisplayAnswer.parse(JSON.parse(text)).ticket
}
