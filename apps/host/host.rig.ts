import { createHash, randomUUID } from 'node:crypto'
import { chmod, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { pino } from 'pino'
import { createXvncDisplayServer, removeAccount } from '#adapters/display-xvnc/index.ts'
import {
  type DesiredSession,
  type HostSession,
  type HostToSite,
  hostToSite,
  type SiteToHost,
  siteToHost,
} from '#core/agent/messages.ts'
import { encodeHex, encodeUtf8 } from '#core/bytes/index.ts'
import {
  type Channel,
  type CryptoKeyPair,
  channelContext,
  connectChannel,
  createTicket,
  exportPublic,
  generateX25519,
  seal,
  type Transport,
  ticketId,
  ticketPsk,
} from '#core/channel/index.ts'
import { createHost, type Host, type HostOptions } from './host.ts'
import { loadHostKey } from './host-key.ts'

/** Of one site and person; the account is made by the first session and removed at the end. */
export interface Place {
  readonly folder: string
  readonly hostId: string
}

export async function createPlace(): Promise<Place> {
  const folder = await mkdtemp(join(tmpdir(), 'tc-host-'))
  await chmod(folder, 0o711)
  return { folder, hostId: randomUUID() }
}

/** A host agent on a real display server. */
export async function openHost(
  { folder, hostId }: Place,
  options: Pick<HostOptions, 'tell'> & Partial<HostOptions>,
): Promise<Host> {
  const log = pino({ level: process.env['LOG_LEVEL'] ?? 'silent' })
  const { runDir, homesDir } = dirsOf(folder)
  const displays = await createXvncDisplayServer({ runDir, homesDir, hostTag: tagOf(folder), log })
  return createHost({
    hostId,
    keyPair: await loadHostKey(folder),
    capacity: 5,
    version: 'test',
    displays,
    dial: () => Promise.reject(new Error('no gateway')),
    log,
    now: Date.now,
    ...options,
  })
}

/** The test plays the site: it says what is desired, makes tickets, and hears what the host says. */
export class Rig implements AsyncDisposable {
  readonly place: Place
  readonly account: string
  readonly said: HostToSite[] = []
  /** Added to the host's clock, ms. */
  skew = 0
  desired: SiteToHost = { kind: 'desired', draining: false, warm: 0, gateways: [], sessions: [], tickets: [] }
  readonly #options: Partial<HostOptions>
  #host: Host | undefined

  private constructor(place: Place, options: Partial<HostOptions>) {
    this.place = place
    this.account = `tc-host-${tagOf(place.folder)}`
    this.#options = options
  }

  /** A place whose agent is not started yet. */
  static async prepare(options: Partial<HostOptions> = {}, place?: Place): Promise<Rig> {
    return new Rig(place ?? (await createPlace()), options)
  }

  static async start(options: Partial<HostOptions> = {}, place?: Place): Promise<Rig> {
    const rig = await Rig.prepare(options, place)
    await rig.start()
    return rig
  }

  get host(): Host {
    if (this.#host === undefined) throw new Error('the host was not started')
    return this.#host
  }

  get homesDir(): string {
    return dirsOf(this.place.folder).homesDir
  }

  get runDir(): string {
    return dirsOf(this.place.folder).runDir
  }

  async start(): Promise<void> {
    const tell = (message: HostToSite): void => void this.said.push(hostToSite.parse(message))
    const now = (): number => Date.now() + this.skew
    this.#host = await openHost(this.place, { tell, now, ...this.#options })
    for (const message of this.#host.hello()) tell(message)
  }

  desire(change: Partial<SiteToHost>): void {
    this.desired = siteToHost.parse({ ...this.desired, ...change })
    this.host.receive(this.desired)
  }

  /** Changes one desired session. */
  change(id: string, change: Partial<DesiredSession>): void {
    this.desire({
      sessions: this.desired.sessions.map((one) => (one.id === id ? { ...one, ...change } : one)),
    })
  }

  /** Desires one more session, an xterm. */
  add(change: Partial<DesiredSession> = {}): DesiredSession {
    const session = { ...desiredSession(this.account), ...change }
    this.desire({ sessions: [...this.desired.sessions, session] })
    return session
  }

  drop(id: string): void {
    this.desire({ sessions: this.desired.sessions.filter((one) => one.id !== id) })
  }

  /** All sessions as last reported. */
  get reported(): readonly HostSession[] {
    return this.said.findLast((message) => message.kind === 'report')?.sessions ?? []
  }

  async untilReported(id: string, state: HostSession['state']): Promise<HostSession> {
    return until(() => this.reported.find((one) => one.id === id && one.state === state))
  }

  /** A ticket for the holder of a new key, sent to the host. */
  async issue(sessionId: string, change: IssueChange = {}): Promise<Person> {
    const hostKey = await exportPublic((await loadHostKey(this.place.folder)).publicKey)
    const keyPair = await generateX25519()
    const ticket = createTicket()
    const id = await ticketId(ticket)
    const secret = Buffer.concat([await ticketPsk(ticket), await exportPublic(keyPair.publicKey)])
    const sealed = await seal(change.hostKey ?? hostKey, secret, Buffer.concat([id, encodeUtf8(sessionId)]))
    const entry = {
      id: encodeHex(id),
      sessionId: change.sessionId ?? sessionId,
      sealed: Buffer.from(sealed).toString('base64url'),
      expiresAt: new Date(change.expiresAt ?? Date.now() + 30_000).toISOString(),
    }
    this.desire({ tickets: [...this.desired.tickets, entry] })
    const context = channelContext(this.place.hostId, sessionId)
    return {
      ticketId: entry.id,
      sessionId,
      open: (other = {}) =>
        connectChannel({
          dial: async () => this.#transport(),
          hostKey,
          ticket,
          keyPair,
          context,
          ...other,
        }),
    }
  }

  /** A ticket that its holder was told to use now. */
  async invite(sessionId: string): Promise<Person> {
    const person = await this.issue(sessionId)
    await until(() => this.said.some((one) => one.kind === 'armed' && one.ticketId === person.ticketId))
    return person
  }

  /** Folders of the displays that run. */
  async displays(): Promise<readonly string[]> {
    return (await readdir(this.runDir)).filter((name) => /^d[0-9a-f]{12}$/.test(name))
  }

  /** Process id of a session's display server. */
  async displayServerOf(sessionId: string): Promise<number> {
    for (const name of await this.displays()) {
      const text = await readFile(join(this.runDir, name, 'state.json'), 'utf8')
      const state = JSON.parse(text) as { server: { pid: number }; request?: { sessionId: string } }
      if (state.request?.sessionId === sessionId) return state.server.pid
    }
    throw new Error(`no display of ${sessionId}`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#host?.close('end-sessions')
    await removeAccount(this.account, this.homesDir)
    await rm(this.place.folder, { recursive: true })
  }

  #transport(): Transport {
    const [ours, theirs] = transportPair()
    this.host.accept(theirs)
    return ours
  }
}

interface IssueChange {
  /** Seals to another key. */
  readonly hostKey?: Uint8Array
  readonly expiresAt?: number
  /** Says another session than the one that is sealed. */
  readonly sessionId?: string
}

/** What a person got from the site. */
export interface Person {
  readonly ticketId: string
  readonly sessionId: string
  /** Through the host's own door, without a gateway. */
  open(other?: { keyPair?: CryptoKeyPair; dial?: () => Promise<Transport> }): Channel
}

export function desiredSession(account: string): DesiredSession {
  const rights = ['input', 'clipboard-in', 'clipboard-out'] as const
  const obligations = {
    clipboardMaxBytes: 100_000,
    watermark: false,
    sessionMinutes: 60,
    idleMinutes: 30,
    disconnectMinutes: 30,
    leaseMinutes: 15,
    overlay: 'discard' as const,
  }
  return {
    id: randomUUID(),
    account,
    fullName: 'Alice Example',
    program: { kind: 'application', command: ['xterm'] },
    width: 800,
    height: 600,
    limits: { memoryMiB: 512, processes: 100, cpuPercent: 100 },
    rights: [...rights],
    obligations,
    endsAt: new Date(Date.now() + 3_600_000).toISOString(),
    notice: { state: 'starting', rights: [...rights], restrictions: [], obligations },
    frozen: false,
  }
}

/** Waits until something is so; the test's own time limit ends a wait in vain. */
export async function until<Value>(look: () => Value | Promise<Value>): Promise<NonNullable<Value>> {
  for (;;) {
    const value = await look()
    if (value !== undefined && value !== null && value !== false) return value
    await delay(20)
  }
}

/** Two ends of a connection within this process. */
function transportPair(): readonly [Transport, Transport] {
  const ends: Transport[] = []
  let isOpen = true
  const end = (other: number): Transport => ({
    send: (message) => {
      setImmediate(() => isOpen && ends[other]?.onmessage?.(message))
    },
    // What was sent before still arrives.
    close: () => {
      setImmediate(() => {
        if (!isOpen) return
        isOpen = false
        for (const end of ends) end.onclose?.()
      })
    },
    bufferedAmount: 0,
    onmessage: null,
    onclose: null,
  })
  const pair = [end(1), end(0)] as const
  ends.push(...pair)
  return pair
}

function dirsOf(folder: string): { readonly runDir: string; readonly homesDir: string } {
  return { runDir: join(folder, 'run'), homesDir: join(folder, 'homes') }
}

function tagOf(folder: string): string {
  return createHash('sha256').update(folder).digest('hex').slice(0, 8)
}
