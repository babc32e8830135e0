import { createPrivateKey, hash, type KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { TLSSocket } from 'node:tls'
import { WebSocket } from 'ws'
import { channelBinding, clientTls } from '#adapters/pki-x509/index.ts'
import { backoff } from '#apps/agent-client/backoff.ts'
import { agentPath } from '#core/agent/messages.ts'
import { evidencePeriodMs, makeEvidence, type Observation } from '#core/evidence/index.ts'
import { simulateQuote } from './simulated-tpm.ts'

/**
 * Many endpoints in one process, each with its own certificate, attestation key, connection and evidence, by the real protocol. `node fleet.ts FILE`:
 * the file says where the site is and who they are. Whoever is cut off dials again, as real endpoints do. Prints a line of JSON a second.
 */

export interface Fleet {
  readonly siteId: string
  readonly rootPem: string
  readonly agentUrl: string
  readonly members: readonly {
    readonly id: string
    readonly chainPem: string
    readonly privateKeyPem: string
    /** Of the attestation key. */
    readonly akPrivatePem: string
  }[]
}

export interface FleetCount {
  readonly connected: number
  readonly sent: number
  readonly refused: number
  /** Connections over which evidence was said, and which ended. */
  readonly lost: number
}

const dialsAtOnce = 24
/** As much as a real endpoint says. */
const observations: readonly Observation[] = (
  [
    ['endpoint.osUpdates', 'current', 'apt'],
    ['endpoint.antivirus', 'on', 'clamd'],
    ['endpoint.edr', 'on', 'processes'],
    ['endpoint.firewall', 'on', 'nft'],
    ['endpoint.diskEncryption', 'on', 'disks'],
    ['endpoint.secureBoot', 'on', 'efivars'],
    ['endpoint.screenLock', 'on', 'screen-lock'],
    ['endpoint.localAdmin', 'no', 'accounts'],
    ['endpoint.debugger', 'absent', 'debuggers'],
    ['endpoint.machine', 'physical', 'machine'],
    ['network.integrity', 'clean', 'dhcp'],
    ['network.integrity', 'clean', 'neighbours'],
  ] as const
).map(([claim, value, collector]) => ({
  claim,
  value,
  collector,
  detail: `what ${collector} saw when it looked last, in about as many words as it has`,
}))

const count = { connected: 0, sent: 0, refused: 0, lost: 0 }

if (process.argv[2] !== undefined) await run(JSON.parse(readFileSync(process.argv[2], 'utf8')) as Fleet)

async function run(fleet: Fleet): Promise<void> {
  setInterval(() => process.stdout.write(`${JSON.stringify(count)}\n`), 1_000)
  process.stdin.on('end', () => process.exit(0)).resume()
  const waiting = fleet.members.values()
  const dial = async (): Promise<void> => {
    for (const member of waiting) await live(fleet, member)
  }
  await Promise.all(Array.from({ length: dialsAtOnce }, dial))
}

/** One endpoint for as long as this process runs. @returns when it has first spoken */
async function live(fleet: Fleet, member: Fleet['members'][number]): Promise<void> {
  const ready = Promise.withResolvers<void>()
  const keys = { key: createPrivateKey(member.privateKeyPem), ak: createPrivateKey(member.akPrivatePem) }
  const told: Told = { sequence: 0, previous: undefined }
  const again = async (): Promise<void> => {
    for (let failures = 0; ; ) {
      const hasSpoken = await converse(fleet, member, keys, told, ready.resolve)
      if (hasSpoken) failures = 0
      await sleep(backoff(failures++))
    }
  }
  void again()
  await ready.promise
}

/** What an endpoint keeps from one connection to the next. */
interface Told {
  sequence: number
  previous: string | undefined
}

/** One connection, until it ends. @returns whether evidence was said over it */
async function converse(
  { siteId, rootPem, agentUrl }: Fleet,
  { id, chainPem, privateKeyPem }: Fleet['members'][number],
  { key, ak }: { readonly key: KeyObject; readonly ak: KeyObject },
  told: Told,
  onSpoken: () => void,
): Promise<boolean> {
  const url = new URL(agentPath, agentUrl)
  url.protocol = 'wss:'
  const socket = new WebSocket(url, {
    ...clientTls(rootPem, { siteId, role: 'site' }, { chainPem, privateKeyPem }),
    perMessageDeflate: false,
  })
  let exporter = ''
  let said = 0
  let timer: NodeJS.Timeout | undefined
  socket.on('upgrade', ({ socket: tls }: IncomingMessage) => {
    if (tls instanceof TLSSocket) exporter = channelBinding(tls)
  })
  socket.on('open', () => {
    count.connected += 1
    socket.send(JSON.stringify({ kind: 'hello', sealKey: 'A'.repeat(43), version: 'fleet', reports: true }))
  })
  socket.on('message', (data: Buffer) => {
    const message = JSON.parse(data.toString()) as {
      kind: string
      nonce: string
      previous?: string
      wantLog: boolean
      refused?: object
    }
    if (message.kind === 'verdict' && message.refused !== undefined) count.refused += 1
    if (message.kind !== 'challenge') return
    const { nonce, wantLog } = message
    told.previous = message.previous ?? told.previous
    const say = (): void => {
      told.sequence += 1
      said += 1
      const { sequence, previous } = told
      const statement = makeEvidence(
        {
          endpoint: id,
          site: siteId,
          nonce,
          sequence,
          at: Date.now(),
          exporter,
          observations,
          ...(previous === undefined ? {} : { previous }),
        },
        key,
      )
      const extraData = hash('sha256', statement, 'buffer')
      const attestation = simulateQuote(ak, extraData, { withLog: wantLog })
      socket.send(JSON.stringify({ kind: 'evidence', statement, attestation }))
      count.sent += 1
      onSpoken()
    }
    // The first at once, the second at any time of the period, and then one in each.
    clearTimeout(timer)
    if (said === 0) say()
    else timer = setTimeout(say, said === 1 ? Math.random() * evidencePeriodMs : evidencePeriodMs)
  })
  socket.on('error', () => undefined)
  await new Promise<void>((resolve) => socket.once('close', () => resolve()))
  clearTimeout(timer)
  if (said > 0) count.lost += 1
  return said > 0
}
