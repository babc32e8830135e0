import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { z } from 'zod'
import { clientTls } from '#adapters/pki-x509/index.ts'
import { type AgentIdentity, enrolAgent, readIdentity } from '#apps/agent-client/index.ts'
import { dialRoute } from '#apps/cli/dial-route.ts'
import { dialGateway } from '#apps/host/dial-gateway.ts'
import type { RfbPerson } from '#apps/host/rfb-person.rig.ts'
import { agentPath, type HostSession, type HostToSite } from '#core/agent/messages.ts'
import { hostedDelivery, sessionView } from '#core/api/person.ts'
import { exportPublic, generateX25519 } from '#core/channel/index.ts'
import { sendSigned } from './attacks/raw-request.rig.ts'
import {
  anyGateway,
  connect,
  type Dial,
  homeFile,
  homeNames,
  type Invitation,
  launch,
  newKey,
  openWorkspace,
  typeUntil,
  untilWorks,
  view,
} from './hosted-person.rig.ts'
import { pidsMatching, type RunningSite, type SignedInClient, startSite, until } from './running-site.rig.ts'
import { openDatabase } from './site-database.rig.ts'
import { displayServers, processesOfPerson } from './site-processes.rig.ts'

let site: RunningSite
let ada: SignedInClient
let nora: SignedInClient
beforeAll(async () => {
  site = await startSite()
  ;[ada, nora] = await Promise.all([site.signIn('ada'), site.signIn('nora')])
})
afterAll(() => site?.[Symbol.asyncDispose]())

test('what a person typed last is not lost when they leave at once', async () => {
  const first = await openWorkspace(site, nora, 'terminal')
  await typeUntil(first.viewer, 'touch first', async () => (await homeNames(site, 'nora')).includes('first'))
  first.viewer.channel.close('left')
  const names = Array.from({ length: 10 }, (_, index) => `last-${index}`)
  for (const name of names) {
    // The picture is still coming.
    const { viewer } = await openWorkspace(site, nora, 'terminal')
    viewer.type(`touch ${name}\n`)
    viewer.channel.close('left')
  }
  await until(async () => {
    const found = await homeNames(site, 'nora')
    return names.every((name) => found.includes(name))
  }, 'all of it was done')
})

test('kill -9 of the site: typing goes on, and launches work again by themselves', async () => {
  const typing = await startTyping('nora', nora)
  const [pid = 0] = await site.pidsOf('site')
  process.kill(pid, 'SIGKILL')
  await typing.more(20)
  await untilOtherPid('site', pid)
  await untilWorks(async () => openAndLeave(nora, 'editor'), 'a launch works')
  await typing.more(5)
  expect(typing.interruptions()).toBe(0)
  await typing.finish()
})

test('kill -9 of the gateway in use: the same session goes on over the other one', async () => {
  const used: string[] = []
  const typing = await startTyping('nora', nora, (invitation) => async (signal) => {
    const routes = invitation.delivery.routes
    for (const route of used.length === 0 ? routes : routes.toReversed()) {
      try {
        const transport = await dialRoute(site.address, route, signal)
        used.push(route.url)
        return transport
      } catch {
        // The dead one: the next.
      }
    }
    throw new Error('no gateway')
  })
  const number = Number(new URL(used[0] ?? '').port) === site.port + 2 ? 1 : 2
  const [pid = 0] = await site.pidsOf(`gateway-${number}`)
  process.kill(pid, 'SIGKILL')
  await typing.more(20)
  expect(used).toHaveLength(2)
  expect(used[1]).not.toBe(used[0])
  expect(typing.viewer.closedBy).toBeUndefined()
  await typing.finish()
  await untilOtherPid(`gateway-${number}`, pid)
  await untilWorks(
    () =>
      dialRoute(
        site.address,
        { url: used[0] ?? '', token: typing.invitation.delivery.routes[0]?.token ?? '' },
        AbortSignal.timeout(5_000),
      ).then((transport) => transport.close()),
    'the gateway that was killed puts people through again',
  )
})

test('kill -9 of a host agent: the same session, the same xterm, and nothing is left when it ends', async () => {
  const { viewer, delivery: made } = await openWorkspace(site, nora, 'terminal')
  const mark = randomBytes(8).toString('hex')
  const isKept = async (): Promise<boolean> => (await homeNames(site, 'nora')).includes('keeping')
  await typeUntil(viewer, `KEPT=${mark}; touch keeping`, isKept)
  const name = made.session.host.name
  const [pid = 0] = await site.pidsOf(name)
  process.kill(pid, 'SIGKILL')
  await untilOtherPid(name, pid)
  let again: RfbPerson | undefined
  await untilWorks(async () => {
    again = await reopen(nora, made.session.id)
  }, 'a new ticket opens the session')
  await typeUntil(
    again!,
    'echo $KEPT > kept',
    async () => (await homeFile(site, 'nora', 'kept')) === `${mark}\n`,
  )
  again!.channel.close('left')

  for (const { id } of await liveSessions(nora))
    await nora.send('DELETE', `/sessions/${id}`, undefined, sessionView)
  await until(async () => (await liveSessions(nora)).length === 0, 'every session has ended')
  await until(
    async () => (await displayServers(site.state)).length === (await warmDisplays()),
    'only warm displays are left',
  )
  await until(
    async () => (await processesOfPerson(site.state, 'nora')).length === 0,
    'nothing of the person runs any more',
  )
})

test('while the database is away sessions go on and the site says when to try again; then it works by itself', async () => {
  const typing = await startTyping('nora', nora)
  const postmaster = Number(
    (await readFile(join(site.state, 'postgres/postmaster.pid'), 'utf8')).split('\n')[0],
  )
  // Whoever would start it again is held, so that it stays away for a while.
  process.kill(site.pid, 'SIGSTOP')
  try {
    process.kill(postmaster, 'SIGQUIT')
    await until(
      async () => (await pidsMatching(join(site.state, 'postgres'))).every((pid) => pid === site.pid),
      'the database is gone',
    )
    const { clientKey } = await newKey()
    for (const request of [
      { method: 'GET', path: '/api/v1/workspaces' },
      { method: 'POST', path: '/api/v1/launches', body: { workspaceId: 'editor', clientKey } },
    ]) {
      const answer = await sendSigned(site, nora.credentials, request)
      expect(answer.status).toBe(503)
      expect(JSON.parse(String(answer.body))).toMatchObject({
        code: 'SITE_BUSY',
        retryAfter: expect.any(Number),
      })
      expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0)
    }
    await typing.more(20)
  } finally {
    process.kill(site.pid, 'SIGCONT')
  }
  await untilWorks(async () => openAndLeave(nora, 'editor'), 'a launch works')
  await typing.more(5)
  expect(typing.interruptions()).toBe(0)
  await typing.finish()
})

test('a database that does not answer is no different from one that is away', async () => {
  const typing = await startTyping('nora', nora)
  const pids = await postgresPids()
  for (const pid of pids) process.kill(pid, 'SIGSTOP')
  try {
    const answer = await sendSigned(site, nora.credentials, { method: 'GET', path: '/api/v1/workspaces' })
    expect(answer.status).toBe(503)
    expect(JSON.parse(String(answer.body))).toMatchObject({
      code: 'SITE_BUSY',
      retryAfter: expect.any(Number),
    })
    await typing.more(20)
  } finally {
    for (const pid of pids) process.kill(pid, 'SIGCONT')
  }
  await untilWorks(async () => openAndLeave(nora, 'editor'), 'a launch works')
  await typing.finish()
})

test('a host speaks for nobody but itself, and one that was revoked is cut off', async () => {
  const { viewer, delivery: victim } = await openWorkspace(site, nora, 'terminal')
  const identity = await enrolHost('liar')
  const liar = await speakAs(identity)
  const keyPair = await generateX25519()
  const hostKey = Buffer.from(await exportPublic(keyPair.publicKey)).toString('base64url')
  const end = { code: 'SESSION_ENDED', reason: 'says the liar' }
  const sessions = [{ id: victim.session.id, state: 'ended' as const, connected: false, end }]
  await using database = await openDatabase(site)
  const [ticket] = await database.rows(
    `select encode(id, 'hex') as id from tickets where session_id = $1 order by expires_at desc limit 1`,
    [victim.session.id],
  )
  const lies: readonly HostToSite[] = [
    { kind: 'hello', hostKey, capacity: 0, version: '1' },
    { kind: 'report', cpuPercent: 0, memoryFreeMiB: 9999, warm: 0, sessions },
    { kind: 'redeemed', ticketId: String(ticket?.['id']), sessionId: victim.session.id },
    { kind: 'report', cpuPercent: 1, memoryFreeMiB: 9999, warm: 0, sessions: [] },
  ]
  const keyOfVictim = () =>
    database.rows('select host_key from agents where id = $1', [victim.session.host.id])
  const before = await keyOfVictim()
  await until(async () => {
    // Again and again: a site whose database was away just now drops what it hears.
    for (const lie of lies) liar.say(lie)
    const [row] = await database.rows(`select report from agents where id = $1`, [identity.id])
    return (row?.['report'] as { cpuPercent?: number } | undefined)?.cpuPercent === 1
  }, 'the site has heard everything')
  expect(await nora.get(`/sessions/${victim.session.id}`, sessionView)).toMatchObject({ state: 'ready' })
  expect(liar.heard()).not.toContain(victim.session.id)
  expect(await keyOfVictim()).toEqual(before)

  const tls = clientTls(identity.rootPem, { siteId: identity.siteId, role: 'gateway' }, identity)
  const relay = await dialGateway(`https://localhost:${site.port + 3}`, tls, AbortSignal.timeout(10_000))
  const cut = [new Promise((resolve) => relay.once('close', resolve)), liar.closed]
  relay.resume()
  await ada.send('POST', `/admin/agents/${identity.id}/revoke`, undefined, z.unknown())
  await Promise.all(cut)
  await expect(speakAs(identity)).rejects.toThrow(/403/)
  await expect(
    dialGateway(`https://localhost:${site.port + 3}`, tls, AbortSignal.timeout(10_000)),
  ).rejects.toMatchObject({ code: 'HOST_RELAY_REFUSED' })
  expect(viewer.closedBy).toBeUndefined()
  viewer.channel.close('left')
})

test('a host stays connected, whatever stands in the way of what it says of one session', async () => {
  const { viewer, delivery } = await openWorkspace(site, nora, 'terminal')
  viewer.channel.close('left')
  const identity = await enrolHost('clumsy')
  await using database = await openDatabase(site)
  const [refused = '', cut = ''] = await Promise.all(
    [1, 2].map(async () => {
      const [row] = await database.rows(
        `insert into sessions select (jsonb_populate_record(s, jsonb_build_object('id', gen_random_uuid(), 'host_id', $2::text, 'state', 'ending'))).*
         from sessions s where id = $1 returning id`,
        [delivery.session.id, identity.id],
      )
      return String(row?.['id'])
    }),
  )
  await database.rows('update agents set placed = 2 where id = $1', [identity.id])
  await database.rows(
    `alter table sessions add constraint test check (id <> '${refused}' or state <> 'ended')`,
  )
  const host = await speakAs(identity)
  const sessions = [refused, cut].map((id) => {
    const end = { code: 'DISPLAY_START_FAILED', reason: '\uDE80 stood\nin a log\0' }
    return { id, state: 'ended' as const, connected: false, end }
  })
  const endOfCut = async () =>
    (await database.rows(`select "end" from sessions where id = $1 and state = 'ended'`, [cut]))[0]?.['end']
  await until(async () => {
    host.say({ kind: 'report', cpuPercent: 0, memoryFreeMiB: 9999, warm: 0, sessions })
    return (await endOfCut()) !== undefined
  }, 'the site has taken what it could')
  expect(await endOfCut()).toMatchObject({ reason: '\uFFFD stood\nin a log ' })
  expect(host.isOpen()).toBe(true)
  await database.rows('alter table sessions drop constraint test')
  await ada.send('POST', `/admin/agents/${identity.id}/revoke`, undefined, z.unknown())
})

test('a person hears when it is the ticket that a host does not take, though their session runs', async () => {
  const identity = await enrolHost('deaf')
  await using database = await openDatabase(site)
  await database.rows(`update agents set pool = 'deaf' where id = $1`, [identity.id])
  await database.rows(
    `update workspaces set definition = jsonb_set(definition, '{pool}', '"deaf"') where id = 'editor'`,
  )
  const keyPair = await generateX25519()
  const hostKey = Buffer.from(await exportPublic(keyPair.publicKey)).toString('base64url')
  const deaf = await speakAs(identity)
  const report = (sessions: readonly HostSession[]): void =>
    deaf.say({ kind: 'report', cpuPercent: 0, memoryFreeMiB: 9999, warm: 0, sessions: [...sessions] })
  deaf.say({ kind: 'hello', hostKey, capacity: 1, version: '1' })
  await until(async () => {
    report([])
    const [row] = await database.rows('select report from agents where id = $1', [identity.id])
    return (row?.['report'] as { cpuPercent?: number } | undefined)?.cpuPercent !== undefined
  }, 'the host can be given sessions')
  const refused = launch(ada, 'editor').catch((error: unknown) => error)
  await until(async () => {
    const rows = await database.rows('select id from sessions where host_id = $1', [identity.id])
    report(rows.map(({ id }) => ({ id: String(id), state: 'ready' as const, connected: false })))
    return rows.length > 0
  }, 'the session was placed')
  expect(await refused).toMatchObject({ code: 'LAUNCH_LATE', remedy: expect.stringContaining('clocks') })
  await database.rows(
    `update workspaces set definition = jsonb_set(definition, '{pool}', '"default"') where id = 'editor'`,
  )
  await ada.send('POST', `/admin/agents/${identity.id}/revoke`, undefined, z.unknown())
})

test('people on a host that is revoked are cut off', async () => {
  const { viewer, delivery: made } = await openWorkspace(site, nora, 'terminal')
  let interrupted = false
  const before = viewer.channel.onState
  viewer.channel.onState = (state, reason) => {
    before?.(state, reason)
    interrupted ||= state !== 'open'
  }
  await ada.send('POST', `/admin/agents/${made.session.host.id}/revoke`, undefined, z.unknown())
  await until(() => interrupted, 'the connection is cut')
  viewer.channel.close('left')
  // New sessions start elsewhere.
  await untilWorks(async () => {
    const other = await openWorkspace(site, nora, 'terminal')
    other.viewer.channel.close('left')
    expect(other.delivery.session.host.id).not.toBe(made.session.host.id)
  }, 'a launch finds another host')
})

/** Types numbered lines into a file and sees that each arrives, once and in order. */
async function startTyping(login: string, client: SignedInClient, dialOf?: (invitation: Invitation) => Dial) {
  const invitation = await openWorkspace(site, client, 'terminal', dialOf)
  const { viewer } = invitation
  const name = `typed-${randomBytes(4).toString('hex')}`
  const has = async (file: string): Promise<boolean> => (await homeNames(site, login)).includes(file)
  await typeUntil(viewer, `touch before-${name}`, () => has(`before-${name}`))
  viewer.type(`cat > ${name}\n`)
  await until(() => has(name), 'what is typed is written down')
  let interruptions = 0
  const before = viewer.channel.onState
  viewer.channel.onState = (state, reason) => {
    before?.(state, reason)
    if (state === 'interrupted') interruptions++
  }
  let count = 0
  const text = (): string => Array.from({ length: count }, (_, line) => `line ${line}\n`).join('')
  return {
    viewer,
    invitation,
    interruptions: () => interruptions,
    more: async (lines: number): Promise<void> => {
      for (let line = 0; line < lines; line++) {
        viewer.type(`line ${count++}\n`)
        await sleep(30)
      }
      await until(
        async () => (await homeFile(site, login, name)) === text(),
        'all that was typed has arrived',
      )
    },
    finish: async (): Promise<void> => {
      // Ctrl-D: the shell comes back.
      viewer.press(0x64, 0xffe3)
      await typeUntil(viewer, `touch after-${name}`, () => has(`after-${name}`))
      viewer.channel.close('left')
      expect(await homeFile(site, login, name)).toBe(text())
    },
  }
}

async function openAndLeave(client: SignedInClient, workspaceId: string): Promise<void> {
  const { viewer } = await openWorkspace(site, client, workspaceId)
  viewer.channel.close('left')
}

/** A new ticket for a session that runs. */
async function reopen(client: SignedInClient, sessionId: string): Promise<RfbPerson> {
  const { keyPair, clientKey } = await newKey()
  const path = `/sessions/${sessionId}/tickets`
  const answer = await client.send('POST', path, { clientKey }, z.object({ delivery: hostedDelivery }))
  const invitation = { delivery: answer.delivery, keyPair }
  return view(connect(invitation, anyGateway(site.address, invitation)))
}

async function untilOtherPid(part: string, old: number): Promise<void> {
  await until(async () => (await site.pidsOf(part)).some((pid) => pid !== old), `${part} is started again`)
}

async function liveSessions(client: SignedInClient): Promise<readonly { id: string }[]> {
  return (await client.get('/sessions', z.object({ sessions: z.array(sessionView) }))).sessions
}

async function warmDisplays(): Promise<number> {
  const { hosts } = await ada.get('/admin/hosts', z.object({ hosts: z.array(z.object({ warm: z.int() })) }))
  return hosts.reduce((sum, { warm }) => sum + warm, 0)
}

async function postgresPids(): Promise<readonly number[]> {
  const postmaster = Number(
    (await readFile(join(site.state, 'postgres/postmaster.pid'), 'utf8')).split('\n')[0],
  )
  const children = await readFile(`/proc/${postmaster}/task/${postmaster}/children`, 'utf8')
  return [postmaster, ...children.trim().split(' ').map(Number)]
}

async function enrolHost(name: string): Promise<AgentIdentity> {
  const { token } = await ada.send(
    'POST',
    '/admin/enrolment-tokens',
    { kind: 'host', name },
    z.object({ token: z.string(), expiresAt: z.string() }),
  )
  const dir = join(site.state, name)
  await enrolAgent({ url: site.url, token, dir, kind: 'host' })
  return readIdentity(dir)
}

/** A host's connection to the site, on which a test may say what it likes. */
async function speakAs(identity: AgentIdentity) {
  const socket = new WebSocket(new URL(agentPath, identity.agentUrl), {
    ...clientTls(identity.rootPem, { siteId: identity.siteId, role: 'site' }, identity),
    perMessageDeflate: false,
  })
  let heard = ''
  socket.on('message', (data: Buffer) => (heard += String(data)))
  const closed = new Promise((resolve) => socket.once('close', resolve))
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve)
    socket.once('error', reject)
  })
  return {
    say: (message: HostToSite) => socket.send(JSON.stringify(message)),
    heard: () => heard,
    closed,
    isOpen: () => socket.readyState === socket.OPEN,
  }
}
