import type {
  DesiredLeases,
  DisplayTerms,
  EndpointLease,
  EndpointToSite,
  ReportedLease,
} from '#core/agent/endpoint-messages.ts'
import type { LeaseNotice, LeaseStats } from '#core/api/lease.ts'
import { LeaseError, type LeaseErrorCode } from '#core/lease/index.ts'
import type { Overlay } from '#core/trust/words.ts'

const reportMs = 5_000
const tickMs = 500
const nothing: LeaseStats = { bytesFetched: 0, bytesLocal: 0, percentLocal: 0, cacheHits: 0, bytesWritten: 0 }

/** What a launch gave: the lease itself, and its key in the clear. */
export interface LeaseOffer {
  readonly id: string
  /** What is left of it, counted from `askedAt`. */
  readonly leftMs: number
  readonly overlay: Overlay
  /** What passes the display of a local VM. */
  readonly display?: DisplayTerms
  /** On the keeper's clock, from before the launch was asked for. */
  readonly askedAt: number
  /** 32 bytes; the keeper owns and wipes them. */
  readonly key: Uint8Array
}

/**
 * The right to read what one lease is about, for whoever opens the disk. Whoever holds it closes the disk when `signal` aborts, and then
 * says `end`: only that tells the site that nothing is read any more.
 */
export interface HeldLease {
  readonly id: string
  /** Aborts with a `LeaseError` when the lease is withdrawn, has expired or was ended. The key is zeros by then. */
  readonly signal: AbortSignal
  /** @throws {LeaseError} LEASE_WITHDRAWN, LEASE_EXPIRED, LEASE_ENDED */
  readonly key: Uint8Array
  /** What becomes of what was written; the site may decide otherwise while it runs. */
  readonly overlay: Overlay
  /** What passes the display of a local VM, as the site says now. */
  readonly display: DisplayTerms | undefined
  /** Called when what the site says of it has changed. */
  onWord: (() => void) | undefined
  /** Why it was withdrawn, and what the person can do. */
  readonly notice: LeaseNotice | undefined
  /** @param stats asked for at each report */
  measure(stats: () => LeaseStats): void
  /** Gives the lease back; the first call counts. @param why what ended it, when that was not the lease itself */
  end(why?: { readonly code: string; readonly reason: string }): void
  /**
   * Says that a virtual machine that ran under it stays in memory, paused, when it is given back.
   *
   * @returns what tells the site that it is gone, or goes on under another lease; to be called once
   */
  pause(): () => void
}

export interface LeaseKeeperOptions {
  /** Says it to the site; while that is away it is dropped, and the next connection begins with everything. */
  readonly tell: (message: EndpointToSite) => void
  /** A clock that nobody can set, ms: see `steady-clock.ts`. */
  readonly steadyMs: () => number
}

/**
 * The endpoint's side of its leases. Keys are in memory only; each is wiped when the site withdraws its lease, when the site has not
 * been heard of for too long, and when it is given back.
 *
 * INVARIANT I8: no lease is kept alive here for longer than the site counts it: its end is reckoned from before the words that set it were
 * asked for.
 */
export class LeaseKeeper {
  readonly #options: LeaseKeeperOptions
  readonly #leases = new Map<string, Lease>()
  readonly #nothingHeld = new Set<() => Promise<void>>()
  readonly #timers: readonly NodeJS.Timeout[]
  #isClosed = false

  constructor(options: LeaseKeeperOptions) {
    this.#options = options
    // Who holds nothing has nothing to repeat.
    const repeat = (): void => (this.#leases.size > 0 ? this.report() : undefined)
    this.#timers = [setInterval(() => this.#tick(), tickMs), setInterval(repeat, reportMs)]
  }

  /** Keeps a lease that a launch gave; the site hears of it at once. After `close` it is given back at once. */
  hold(offer: LeaseOffer): HeldLease {
    const lease = new Lease(offer, this.#options.steadyMs(), () => this.report())
    this.#leases.set(offer.id, lease)
    this.#tick()
    if (this.#isClosed) lease.end()
    else this.report()
    return lease
  }

  /** Calls `listener`, which does not fail, when this endpoint may hold nothing any more: it was turned away, or is closed. @returns what takes it back */
  onNothingHeld(listener: () => Promise<void>): () => void {
    this.#nothingHeld.add(listener)
    return () => void this.#nothingHeld.delete(listener)
  }

  /** How long a lease stands if nothing more is heard of the site, ms; undefined for one that is over. */
  leftMsOf(id: string): number | undefined {
    const lease = this.#leases.get(id)
    if (lease === undefined || lease.signal.aborted) return undefined
    return Math.max(0, lease.deadline - this.#options.steadyMs())
  }

  /** What each connection to the site says after its hello, and what it hears again and again. */
  report(): void {
    this.#options.tell(this.reportNow())
  }

  reportNow(): EndpointToSite {
    const leases = [...this.#leases.values()].map((lease) => lease.reported())
    return { kind: 'report', at: this.#options.steadyMs(), leases }
  }

  /** The site's whole word. One from before a lease began says nothing about it, except that it is withdrawn. */
  receive({ heard, leases }: DesiredLeases): void {
    const said = new Map(leases.map((lease) => [lease.id, lease]))
    for (const lease of this.#leases.values()) {
      const word = said.get(lease.id)
      const isNewer = heard >= lease.since
      if (word !== undefined) lease.hear(word, isNewer ? heard : undefined)
      else if (isNewer && lease.isOver) this.#leases.delete(lease.id)
      else if (isNewer && !lease.isGivenBack)
        lease.over('LEASE_WITHDRAWN', 'the site no longer lists this lease')
    }
    this.#tick()
  }

  /** The site has turned this endpoint away: it may hold nothing. */
  refused(): void {
    void this.#holdNothing()
    for (const lease of this.#leases.values())
      lease.over('LEASE_WITHDRAWN', 'this endpoint was revoked or is not known to the site')
  }

  /** Ends everything, tells the site, and stops; what was paused is gone when this resolves. */
  async close(): Promise<void> {
    this.#isClosed = true
    const gone = this.#holdNothing()
    for (const timer of this.#timers) clearInterval(timer)
    for (const lease of this.#leases.values()) lease.end()
    this.report()
    await gone
  }

  async #holdNothing(): Promise<void> {
    await Promise.all([...this.#nothingHeld].map(async (listener) => listener()))
  }

  #tick(): void {
    const now = this.#options.steadyMs()
    for (const lease of this.#leases.values())
      if (now >= lease.deadline) lease.over('LEASE_EXPIRED', 'the site was not heard of in time')
  }
}

class Lease implements HeldLease {
  readonly id: string
  /** On the keeper's clock. */
  readonly since: number
  deadline: number
  overlay: Overlay
  display: DisplayTerms | undefined
  onWord: (() => void) | undefined
  notice: LeaseNotice | undefined
  isGivenBack = false
  #isPaused = false
  readonly #key: Uint8Array
  readonly #controller = new AbortController()
  readonly #changed: () => void
  #why: { readonly code: string; readonly reason: string } | undefined
  #stats: () => LeaseStats = () => nothing

  constructor({ id, key, leftMs, askedAt, overlay, display }: LeaseOffer, now: number, changed: () => void) {
    this.id = id
    this.#key = key
    this.since = now
    this.deadline = askedAt + leftMs
    this.overlay = overlay
    this.display = display
    this.#changed = changed
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  get key(): Uint8Array {
    this.signal.throwIfAborted()
    return this.#key
  }

  measure(stats: () => LeaseStats): void {
    this.#stats = stats
  }

  end(why?: { readonly code: string; readonly reason: string }): void {
    if (this.isGivenBack) return
    const stats = this.#stats()
    this.#stats = () => stats
    this.#why ??= why
    this.isGivenBack = true
    this.over('LEASE_ENDED', 'it was closed on this device')
    this.#changed()
  }

  /** Nothing is left to be said of it but that. */
  get isOver(): boolean {
    return this.isGivenBack && !this.#isPaused
  }

  pause(): () => void {
    this.#isPaused = true
    return () => {
      this.#isPaused = false
      this.#changed()
    }
  }

  /** @param heard stamp that what is left counts from; undefined when it is from before this lease */
  hear(word: EndpointLease, heard: number | undefined): void {
    this.notice = word.notice ?? this.notice
    // Before the end is told: whoever closes the disk then acts by it.
    this.overlay = word.overlay
    this.display = word.display ?? this.display
    if (word.state === 'withdrawn') {
      this.over('LEASE_WITHDRAWN', word.notice?.reason ?? 'the site has withdrawn it', word.notice?.remedy)
      return
    }
    if (heard !== undefined) this.deadline = heard + word.leftMs
    this.onWord?.()
  }

  over(code: LeaseErrorCode, reason: string, remedy?: string): void {
    if (this.signal.aborted) return
    this.#key.fill(0)
    this.#why ??= { code, reason }
    const options = remedy === undefined ? {} : { remedy }
    this.#controller.abort(new LeaseError(code, reason, options))
  }

  reported(): ReportedLease {
    const { id, isGivenBack } = this
    const stats = this.#stats()
    if (!isGivenBack) return { id, state: 'held', stats }
    return {
      id,
      state: this.#isPaused ? 'paused' : 'ended',
      stats,
      ...(this.#why === undefined ? {} : { end: this.#why }),
    }
  }
}
