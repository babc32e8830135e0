import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { removeAccount } from '#adapters/display-xvnc/index.ts'
import { createAuthority } from '#adapters/pki-x509/index.ts'
import { type ConnectedAgent, FakeSite } from '#apps/agent-client/fake-site.rig.ts'
import { enrolAgent } from '#apps/agent-client/index.ts'
import { type HostSession, hostToSite, type SiteToHost } from '#core/agent/messages.ts'
import { createPlace, desiredSession } from './host.rig.ts'
import { runHost } from './run-host.ts'

test('an enrolled host serves its site, goes on while it is away, and ends its sessions when told so', async () => {
  const { folder } = await createPlace()
  const dirs = {
    stateDir: join(folder, 'state'),
    runDir: join(folder, 'run'),
    homesDir: join(folder, 'homes'),
  }
  const authority = await createAuthority({
    dir: join(folder, 'authority'),
    siteName: 'Test',
    now: Date.now(),
  })
  await using site = await FakeSite.start(authority, 'host')
  await enrolAgent({ url: site.publicUrl, token: site.token(), dir: dirs.stateDir, kind: 'host' })
  const stopping = new AbortController()
  const config = {
    ...dirs,
    capacity: 3,
    version: 'test',
    endSessionsOnStop: true,
    log: pino({ level: 'silent' }),
  }
  const running = runHost(config, stopping.signal)

  const session = desiredSession(`tc-run-${folder.slice(-6).toLowerCase()}`)
  const desired: SiteToHost = {
    kind: 'desired',
    draining: false,
    warm: 0,
    gateways: [],
    sessions: [session],
    tickets: [],
  }
  const first = await site.agent()
  expect(await first.message()).toMatchObject({ kind: 'hello', capacity: 3, version: 'test+discard' })
  first.socket.send(JSON.stringify(desired))
  await untilSessions(first, ({ state }) => state === 'ready')

  first.socket.terminate()
  const second = await site.agent()
  expect(await second.message()).toMatchObject({ kind: 'hello' })
  // Before the site has said anything again.
  expect(await second.message()).toMatchObject({
    kind: 'report',
    sessions: [{ id: session.id, state: 'ready' }],
  })

  stopping.abort()
  await untilSessions(second, ({ state, end }) => state === 'ended' && end?.code === 'HOST_STOPPED')
  await running
  await removeAccount(session.account, dirs.homesDir)
  await rm(folder, { recursive: true })
})

async function untilSessions(agent: ConnectedAgent, isSo: (session: HostSession) => boolean): Promise<void> {
  for (;;) {
    const message = hostToSite.parse(await agent.message())
    if (message.kind === 'report' && message.sessions.some(isSo)) return
  }
}
