import { isFull } from '#adapters/overlay-file/overlay-folder.ts'
import type { DeviceLaunch, DeviceLaunchAnswer, DeviceLaunchEnd, HandedBy } from '#core/api/handoff.ts'
import type { LeaseStats } from '#core/api/lease.ts'
import type { Delivery } from '#core/api/person.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import type { Account } from '../accounts.ts'
import type { EndpointAgent } from '../endpoint-agent.ts'
import type { DiskEnd } from '../launch-disk.ts'
import { accountFor } from './account.ts'
import { type Asker, type Desktop, desktopOf } from './asker.ts'
import type { Redeem, Redeemed } from './redeem.ts'
import { ServiceError } from './service-error.ts'

/** What one launch runs under. */
export interface Opening {
  readonly delivery: Delivery
  readonly nonce: string
  readonly askedAt: number
  /** Asked for once the lease is held, so that it is given back when there is none. @throws {ServiceError} SERVICE_NO_ACCOUNT */
  readonly account: () => Promise<Account>
  readonly desktop: Desktop
  /** Called once it is open; the figures are asked for again and again. */
  readonly onOpen: (stats: () => LeaseStats) => void
}

/** Opens what was delivered and returns when it is over. */
export type OpenDelivery = (opening: Opening) => Promise<DiskEnd>

/** A launch that was taken back, with whom to tell. */
export interface TakenBack {
  readonly launch: DeviceLaunch
  readonly end: DeviceLaunchEnd
  readonly asker: Asker
  readonly desktop: Desktop
}

export interface LaunchesOptions {
  readonly agent: Pick<EndpointAgent, 'leases'>
  readonly redeem: Redeem
  readonly open: OpenDelivery
  /** `--as` */
  readonly account: string | undefined
  readonly onTaken: (taken: TakenBack) => void
  readonly onFailed: (error: unknown) => void
  readonly now: () => number
}

const maxRunning = 16
/** Ended ones are shown so that their people learn why, the latest of them. */
const maxEnded = 20
const nothing: LeaseStats = { bytesFetched: 0, bytesLocal: 0, percentLocal: 0, cacheHits: 0, bytesWritten: 0 }
const noRoom = {
  code: 'SERVICE_NO_ROOM',
  reason: 'this device has no room left to open it',
  remedy: 'Remove files that are not needed, and open it again.',
}
const broken = {
  code: 'SERVICE_BROKEN',
  reason: 'it could not be opened',
  remedy:
    'Try again; whoever looks after this device finds the cause in its log: journalctl -u trustcast-endpoint',
}
/** Ends that the person themselves asked for. */
const wanted: ReadonlySet<string> = new Set(['LEASE_ENDED', 'SESSION_CLOSED', 'SESSION_OPENED_AGAIN'])

interface Kept {
  readonly view: Omit<DeviceLaunch, 'state' | 'stats' | 'end' | 'leaseLeftMs'>
  readonly leaseId: string | undefined
  readonly uid: number
  state: DeviceLaunch['state']
  stats: () => LeaseStats
  end: DeviceLaunchEnd | undefined
}

/** What this device was asked to open since the service started. */
export class Launches {
  readonly #options: LaunchesOptions
  readonly #kept = new Map<string, Kept>()
  readonly #running = new Set<Promise<void>>()

  constructor(options: LaunchesOptions) {
    this.#options = options
  }

  /**
   * Brings a code to the site and begins to open what comes back; does not wait until it is open.
   *
   * @throws {ServiceError} SERVICE_FULL; {ApiRefusal}; {SiteAwayError} SITE_AWAY
   */
  async launch(code: string, by: HandedBy, asker: Asker): Promise<DeviceLaunchAnswer> {
    if (this.#running.size >= maxRunning)
      throw new ServiceError('SERVICE_FULL', `${maxRunning} workspaces run on this device already`, {
        remedy: 'End one of them.',
      })
    // First: a program that only passes an address on is gone once it has its answer.
    const desktop = await desktopOf(asker)
    const redeemed = await this.#options.redeem(code, by)
    const { answer } = redeemed
    if (answer.kind === 'met') return { kind: 'met' }
    const kept = this.#keep(answer.delivery, asker)
    const running = this.#run(kept, answer.delivery, redeemed, { asker, desktop })
    this.#running.add(running)
    void running.finally(() => this.#running.delete(running))
    return { kind: 'launch', launch: this.#viewOf(kept) }
  }

  /** The newest first. @param asker sees what was opened for them; root everything */
  list(asker: Asker): readonly DeviceLaunch[] {
    return [...this.#kept.values()]
      .filter(({ uid }) => asker.uid === 0 || uid === asker.uid)
      .map((kept) => this.#viewOf(kept))
      .toReversed()
  }

  /**
   * @param asker as for `list`: of what others run nobody learns whether there is any
   * @throws {ServiceError} SERVICE_NO_SCREEN
   */
  requireScreen(sessionId: string, asker: Asker): void {
    const found = this.list(asker).find(({ id }) => id === sessionId)
    if (found?.mode === 'local-vm' && found.state === 'open') return
    throw new ServiceError(
      'SERVICE_NO_SCREEN',
      'no virtual machine of yours runs on this device under that session',
      {
        remedy: 'Look in the portal what runs.',
      },
    )
  }

  /** Resolves when nothing runs any more; leases must have been ended before. */
  async settled(): Promise<void> {
    await Promise.all(this.#running)
  }

  #keep(delivery: Delivery, { uid }: Asker): Kept {
    const { session } = delivery
    const kept: Kept = {
      view: {
        id: session.id,
        workspace: { id: session.workspace.id, name: session.workspace.name },
        person: session.person.name,
        mode: session.mode,
        startedAt: new Date(this.#options.now()).toISOString(),
      },
      leaseId: 'lease' in delivery ? delivery.lease.id : undefined,
      uid,
      state: 'opening',
      stats: () => nothing,
      end: undefined,
    }
    this.#kept.set(session.id, kept)
    const ended = [...this.#kept].filter(([, { state }]) => state === 'ended')
    for (const [id] of ended.slice(0, Math.max(0, ended.length - maxEnded))) this.#kept.delete(id)
    return kept
  }

  /** INVARIANT: never rejects, and what failed to open has told the site so by giving its lease back. */
  async #run(
    kept: Kept,
    delivery: Delivery,
    { nonce, askedAt }: Redeemed,
    { asker, desktop }: Pick<TakenBack, 'asker' | 'desktop'>,
  ): Promise<void> {
    const { account: named, open, onTaken, onFailed } = this.#options
    let end: DeviceLaunchEnd
    try {
      const account = (): Promise<Account> => accountFor(named, asker)
      const onOpen = (stats: () => LeaseStats): void => {
        kept.stats = stats
        kept.state = 'open'
      }
      end = this.#endOf(await open({ delivery, nonce, askedAt, account, desktop, onOpen }))
    } catch (error) {
      onFailed(error)
      end = this.#failureOf(error)
    }
    const stats = kept.stats()
    kept.stats = () => stats
    kept.state = 'ended'
    kept.end = end
    if (end.taken) onTaken({ launch: this.#viewOf(kept), end, asker, desktop })
  }

  #endOf({ code, reason, notice }: DiskEnd): DeviceLaunchEnd {
    const at = new Date(this.#options.now()).toISOString()
    const taken = !wanted.has(notice?.code ?? code)
    const { remedy, stepDown } = notice ?? {}
    return {
      code: notice?.code ?? code,
      reason: notice?.reason ?? reason,
      ...(remedy !== undefined && { remedy }),
      ...(stepDown !== undefined && { stepDown }),
      taken,
      at,
    }
  }

  #failureOf(error: unknown): DeviceLaunchEnd {
    const at = new Date(this.#options.now()).toISOString()
    if (!isCoded(error)) return { ...(isFull(error) ? noRoom : broken), taken: false, at }
    const { code, message: reason, remedy } = error
    return { code, reason, ...(remedy !== undefined && { remedy }), taken: false, at }
  }

  #viewOf({ view, leaseId, state, stats, end }: Kept): DeviceLaunch {
    const leaseLeftMs = leaseId === undefined ? undefined : this.#options.agent.leases.leftMsOf(leaseId)
    return {
      ...view,
      state,
      stats: stats(),
      ...(leaseLeftMs !== undefined && { leaseLeftMs }),
      ...(end !== undefined && { end }),
    }
  }
}
