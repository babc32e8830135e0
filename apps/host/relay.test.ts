import { generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { WebSocket } from 'ws'
import {
  type Authority,
  clientTls,
  createAuthority,
  type Role,
  serverTls,
  type TlsIdentity,
} from '#adapters/pki-x509/index.ts'
import { issue } from '#apps/gateway/gateway.rig.ts'
import { createGateway, type Gateway } from '#apps/gateway/gateway.ts'
import { defaultLimits } from '#apps/gateway/limits.ts'
import { channelProtocol, routePrefix } from '#core/agent/messages.ts'
import { signRoute } from '#core/agent/route.ts'
import { type Transport, webSocketTransport } from '#core/channel/index.ts'
import { dialGateway } from './dial-gateway.ts'
import { createPlace, type Place, Rig, until } from './host.rig.ts'
import type { HostOptions } from './host.ts'
import { RfbPerson, typeUntilFile } from './rfb-person.rig.ts'

test('a person comes through a gateway, loses the connection, and goes on in the same session', async () => {
  const place = await createPlace()
  await using outside = await Outside.start(place)
  const { gateway } = outside
  await using rig = await Rig.start(
    { dial: outside.dialAs(await outside.issue('host', place.hostId)) },
    place,
  )
  rig.desire({ gateways: [{ id: outside.id, agentUrl: outside.agentUrl }] })
  await until(() => gateway.hosts().includes(place.hostId))

  const session = rig.add()
  const dial = (): Promise<Transport> => outside.enter(place.hostId, session.id)
  const viewer = new RfbPerson((await rig.invite(session.id)).open({ dial }))
  await viewer.ready
  expect(await typeUntilFile(rig, viewer, 'through', 'x')).toBe('x\n')
  await until(() => gateway.connections === 1)

  gateway.closeHost(place.hostId)
  await until(() => viewer.channel.state === 'interrupted')
  await until(() => viewer.channel.state === 'open')
  expect(await typeUntilFile(rig, viewer, 'resumed', 'x')).toBe('x\n')
  expect(viewer.closedBy).toBeUndefined()

  // A gateway that the site has withdrawn gets no new spares.
  rig.desire({ gateways: [] })
  await until(() => gateway.hosts().length === 0)
})

test('a connection that asks for anything but the channel is turned away', async () => {
  const place = await createPlace()
  await using outside = await Outside.start(place)
  await using rig = await Rig.start(
    { dial: outside.dialAs(await outside.issue('host', place.hostId)) },
    place,
  )
  rig.desire({ gateways: [{ id: outside.id, agentUrl: outside.agentUrl }] })
  const ws = await outside.socket(place.hostId, randomUUID())
  // No open message of the channel, but text.
  ws.send('hello')
  await once(ws, 'close')
})

test('only the gateway that the site told of gets a spare', async () => {
  const place = await createPlace()
  await using outside = await Outside.start(place)
  await using _rig = await Rig.start({}, place)
  const dial = outside.dialAs(await outside.issue('host', place.hostId))
  const another = dial({ id: randomUUID(), agentUrl: outside.agentUrl }, new AbortController().signal)
  await expect(another).rejects.toMatchObject({ code: 'PKI_WRONG_PEER' })
  expect(outside.gateway.hosts()).toEqual([])
})

/** A gateway and the authority of its site. */
class Outside implements AsyncDisposable {
  readonly id: string
  readonly gateway: Gateway
  readonly #authority: Authority
  readonly #routeKey: KeyObject

  private constructor(authority: Authority, id: string, gateway: Gateway, routeKey: KeyObject) {
    this.#authority = authority
    this.id = id
    this.gateway = gateway
    this.#routeKey = routeKey
  }

  static async start({ folder }: Place): Promise<Outside> {
    const dir = join(folder, 'authority')
    const authority = await createAuthority({ dir, siteName: 'Test', now: Date.now() })
    const { publicKey, privateKey } = generateKeyPairSync('ed25519')
    const id = randomUUID()
    const own = await issue(authority, 'gateway', id)
    const loopback = { address: '127.0.0.1', port: 0 }
    const gateway = await createGateway({
      siteId: authority.siteId,
      peopleTls: serverTls(own),
      agentTls: serverTls(own, authority.rootPem),
      listen: { people: loopback, agents: loopback },
      routeKeys: () => [publicKey],
      isRevoked: () => false,
      allowedOrigins: [],
      log: { info: () => undefined, warn: () => undefined },
      clock: Date.now,
      limits: defaultLimits,
    })
    return new Outside(authority, id, gateway, privateKey)
  }

  get agentUrl(): string {
    return `https://127.0.0.1:${this.gateway.ports.agents}`
  }

  issue(role: Role, id: string): Promise<TlsIdentity> {
    return issue(this.#authority, role, id)
  }

  dialAs(identity: TlsIdentity): HostOptions['dial'] {
    const { rootPem, siteId } = this.#authority
    return (wanted, signal) =>
      dialGateway(
        wanted.agentUrl,
        clientTls(rootPem, { siteId, role: 'gateway', id: wanted.id }, identity),
        signal,
      )
  }

  /** A person's WebSocket, joined to the host. */
  async socket(host: string, session: string): Promise<WebSocket> {
    const route = signRoute({ host, session, exp: Math.floor(Date.now() / 1000) + 30 }, this.#routeKey)
    const url = `wss://localhost:${this.gateway.ports.people}/channel`
    const ws = new WebSocket(url, [channelProtocol, `${routePrefix}${route}`], {
      ca: this.#authority.rootPem,
    })
    await once(ws, 'open')
    return ws
  }

  async enter(host: string, session: string): Promise<Transport> {
    return webSocketTransport(await this.socket(host, session))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.gateway.close()
  }
}
