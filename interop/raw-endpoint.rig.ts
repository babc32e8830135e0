import { createPrivateKey, type KeyObject } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { TLSSocket } from 'node:tls'
import { WebSocket } from 'ws'
import { channelBinding, clientTls } from '#adapters/pki-x509/index.ts'
import { type AgentIdentity, enrolAgent, readIdentity } from '#apps/agent-client/index.ts'
import { type SiteToEndpoint, siteToEndpoint } from '#core/agent/endpoint-messages.ts'
import { agentPath } from '#core/agent/messages.ts'
import { tokenAnswer } from '#core/api/admin.ts'
import { type EvidenceStatement, makeEvidence, type Observation } from '#core/evidence/index.ts'
import type { Attestation } from '#core/tpm/index.ts'
import type { RunningSite, SignedInClient } from './running-site.rig.ts'

/** An agent that says what its test wants, over a real connection with a real certificate. */
export interface RawEndpoint extends Disposable {
  readonly exporter: string
  /** The next message of this kind that was not taken yet. @throws when the site ends the connection instead */
  next<Kind extends SiteToEndpoint['kind']>(kind: Kind): Promise<Extract<SiteToEndpoint, { kind: Kind }>>
  say(message: object): void
  /** A statement that answers the challenge as it should be, but for `change`. */
  statement(nonce: string, change?: Partial<EvidenceStatement>, key?: KeyObject): string
  /** Sends a statement. @returns what the site refused it with; undefined when it did not */
  tell(statement: string, attestation?: Attestation): Promise<string | undefined>
  /** Says goodbye, as an agent does that ends in order. */
  leave(): Promise<unknown>
  /** Resolves with the code of its end. */
  readonly closed: Promise<number>
}

/** Enrols a machine that has nothing but its identity. */
export async function enrolledIdentity(
  site: RunningSite,
  admin: SignedInClient,
  name: string,
): Promise<AgentIdentity> {
  const dir = await mkdtemp(join(tmpdir(), 'tc-identity-'))
  try {
    const wish = { kind: 'endpoint', name } as const
    const { token } = await admin.send('POST', '/admin/enrolment-tokens', wish, tokenAnswer)
    await enrolAgent({ url: site.url, token, dir, kind: 'endpoint' })
    return await readIdentity(dir, 'endpoint')
  } finally {
    await rm(dir, { recursive: true })
  }
}

/**
 * @param sealKey of the machine's own agent, where one runs beside it
 * @param version as the hello has it; an agent of the first version unless said otherwise
 */
export async function dialAsEndpoint(
  identity: AgentIdentity,
  reports = true,
  sealKey: string = 'A'.repeat(43),
  version: string = 'test',
): Promise<RawEndpoint> {
  const url = new URL(agentPath, identity.agentUrl)
  url.protocol = 'wss:'
  const socket = new WebSocket(url, {
    ...clientTls(identity.rootPem, { siteId: identity.siteId, role: 'site' }, identity),
    perMessageDeflate: false,
  })
  const opened = Promise.withResolvers<void>()
  const closed = Promise.withResolvers<number>()
  let exporter = ''
  socket.on('upgrade', ({ socket: tls }: IncomingMessage) => {
    if (tls instanceof TLSSocket) exporter = channelBinding(tls)
  })
  socket.on('open', opened.resolve).on('error', opened.reject)
  socket.on('close', closed.resolve)
  const box = mailbox(socket)
  await opened.promise
  const say = (message: object): void => socket.send(JSON.stringify(message))
  const key = createPrivateKey(identity.privateKeyPem)
  say({ kind: 'hello', sealKey, version, reports })
  return {
    exporter,
    next: box,
    say,
    closed: closed.promise,
    statement: (nonce, change = {}, by = key) => {
      const base = {
        endpoint: identity.id,
        site: identity.siteId,
        nonce,
        sequence: 1,
        at: Date.now(),
        exporter,
        observations: [] as readonly Observation[],
      }
      return makeEvidence({ ...base, ...change }, by)
    },
    tell: async (statement, attestation) => {
      say({ kind: 'evidence', statement, ...(attestation === undefined ? {} : { attestation }) })
      return (await box('verdict')).refused?.code
    },
    leave: () => {
      socket.close(1001)
      return closed.promise
    },
    [Symbol.dispose]: () => socket.terminate(),
  }
}

function mailbox(socket: WebSocket): RawEndpoint['next'] {
  const messages: SiteToEndpoint[] = []
  let arrived = Promise.withResolvers<void>()
  let isOver = false
  const look = (): void => {
    arrived.resolve()
    arrived = Promise.withResolvers<void>()
  }
  socket.on('message', (data: Buffer) => {
    messages.push(siteToEndpoint.parse(JSON.parse(data.toString())))
    look()
  })
  socket.on('close', () => {
    isOver = true
    look()
  })
  return async <Kind extends SiteToEndpoint['kind']>(kind: Kind) => {
    for (;;) {
      const index = messages.findIndex((message) => message.kind === kind)
      const [found] = index < 0 ? [] : messages.splice(index, 1)
      if (found !== undefined) return found as Extract<SiteToEndpoint, { kind: Kind }>
      if (isOver) throw new Error(`the site ended the connection before a ${kind}`)
      await arrived.promise
    }
  }
}
