import type { KeyObject } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  evidenceOf,
  isAway,
  quietEndpoints,
  type RepeatedEvidence,
  recordFarewell,
  recordPresence,
  recordRepeatedEvidence,
} from '#adapters/store-postgres/index.ts'
import { EvidenceError, evidenceSilenceMs, follow, type Ratchet } from '#core/evidence/index.ts'
import { TpmError } from '#core/tpm/index.ts'
import type { Site } from '../site.ts'
import { createBeat, createTurns, type Turns } from '../turns.ts'
import { type Beacons, createBeacons } from './beacons.ts'
import {
  changeKnowledge,
  evidenceSecret,
  forgetAttested,
  isReturning,
  knowledgeOf,
  markForked,
  ratchetOf,
} from './evidence.ts'
import { type Known, knownFrom } from './evidence-known.ts'
import { type Desk, DeskLink, type EvidenceLink, type ReportingConnection } from './evidence-link.ts'

/**
 * Where a node takes the evidence of the endpoints that are connected to it. Evidence that says nothing new is written down once a
 * second, for all endpoints at once; what changes something is written and acted on at once.
 */
export interface EvidenceDesk {
  /** An endpoint that reports is connected: it is challenged. */
  open(connection: ReportingConnection): EvidenceLink
  /** An agent is connected, with or without evidence. @returns what to call when it is not any more */
  arrived(endpointId: string): () => { readonly isLast: boolean }
  /** An agent was heard of. @param now it counts as absent and is not: to be written at once */
  heard(endpointId: string, now?: boolean): void
  /** Look anew at what is known of an endpoint: something else has changed it. */
  forget(endpointId: string): void
  /** How the desk does, for alarms. */
  health(): DeskHealth
  /** What endpoints say first after they dial: after a node was away all do so at once, and people want to be served meanwhile. */
  readonly arrivals: Turns
  /** Until what was said within the last moment is taken, together. */
  together(): Promise<void>
}

export interface DeskHealth {
  /** Endpoints whose evidence was not taken within the last minutes. */
  readonly refused: number
  /** How long accepted evidence waits to be written, or cannot be, ms. */
  readonly lagMs: number
  /** How long nothing was accepted here although somebody was connected to say it, ms. */
  readonly silentMs: number
}

const flushMs = 1_000
/** An agent's presence is written this often at most, so with each report; see `endpointSilenceMs`. */
const presenceMs = 45_000
const refusalMs = 5 * 60_000
const arrivalsAtOnce = 4
/** Nobody sees a delay of this, and a node to which ten thousand report takes sixteen reports at a time. */
const togetherMs = 100
/** While endpoints come back nobody who waits to be heard counts as silent, for this long at most: some could keep the others waiting. */
const longestReturnMs = 10 * 60_000
const returnEveryMs = 60 * 60_000

export function createEvidenceDesk(site: Site, signal: AbortSignal): EvidenceDesk {
  return new NodeDesk(site, signal)
}

class NodeDesk implements EvidenceDesk, Desk {
  readonly site: Site
  readonly secret: KeyObject
  readonly known = new Map<string, Promise<Known>>()
  readonly refusals = new Map<string, number>()
  readonly beacons: Beacons
  readonly arrivals: Turns = createTurns(arrivalsAtOnce)
  readonly together: () => Promise<void> = createBeat(togetherMs)
  #pending = new Map<string, RepeatedEvidence>()
  readonly #present = new Map<string, number>()
  readonly #heard = new Set<string>()
  readonly #connected = new Map<string, number>()
  readonly #links = new Set<DeskLink>()
  #acceptedAt = 0
  /** Since when endpoints come back. */
  #returnBegan: number
  #unwritten: { readonly since: number; readonly last: number } | undefined

  constructor(site: Site, signal: AbortSignal) {
    this.site = site
    this.secret = evidenceSecret(site)
    this.beacons = createBeacons(site)
    this.#returnBegan = site.now()
    site.returningAt = site.now()
    const off = site.hints.on(({ topic }) => {
      if (topic === 'returning') site.returningAt = site.now()
    })
    signal.addEventListener('abort', off, { once: true })
    void this.#work(signal)
  }

  open(connection: ReportingConnection): EvidenceLink {
    const link = new DeskLink(this, connection)
    this.#links.add(link)
    return link
  }

  arrived(endpointId: string): () => { readonly isLast: boolean } {
    this.#connected.set(endpointId, (this.#connected.get(endpointId) ?? 0) + 1)
    return () => {
      const left = (this.#connected.get(endpointId) ?? 1) - 1
      if (left > 0) this.#connected.set(endpointId, left)
      else this.#connected.delete(endpointId)
      if (left === 0) this.#present.delete(endpointId)
      return { isLast: left === 0 }
    }
  }

  heard(endpointId: string, now = false): void {
    const writtenAt = this.#present.get(endpointId) ?? 0
    if (now || this.site.now() - writtenAt > presenceMs) this.#heard.add(endpointId)
  }

  forget(endpointId: string): void {
    this.known.delete(endpointId)
  }

  health(): DeskHealth {
    const now = this.site.now()
    for (const [id, at] of this.refusals) if (now - at > refusalMs) this.refusals.delete(id)
    let [oldest, openedAt] = [now, now]
    for (const { at } of this.#pending.values()) oldest = Math.min(oldest, at)
    if (this.#unwritten !== undefined && now - this.#unwritten.last <= evidenceSilenceMs)
      oldest = Math.min(oldest, this.#unwritten.since)
    // Of whom nothing will be accepted nothing is waited for.
    for (const link of this.#links) if (!link.isForked) openedAt = Math.min(openedAt, link.openedAt)
    return {
      refused: this.refusals.size,
      lagMs: now - oldest,
      silentMs: now - Math.max(openedAt, this.#acceptedAt),
    }
  }

  wrote(): void {
    this.#acceptedAt = this.site.now()
    this.#unwritten = undefined
  }

  couldNotWrite(): void {
    const last = this.site.now()
    this.#unwritten = { since: this.#unwritten?.since ?? last, last }
  }

  left(link: DeskLink, isAnnounced: boolean): void {
    this.#links.delete(link)
    this.known.delete(link.endpointId)
    if (isAnnounced)
      // One that is lost makes a silence count as a fall: no less is trusted for it, and no more.
      recordFarewell(this.site.store.db, link.endpointId, new Date(this.site.now())).catch(
        (error: unknown) => {
          if (!isAway(error)) this.site.log.error({ err: error }, 'a goodbye could not be written down')
        },
      )
  }

  async knownOf(endpointId: string): Promise<Known> {
    const there = this.known.get(endpointId)
    if (there !== undefined) return there
    const read = this.read(endpointId)
    this.known.set(endpointId, read)
    read.catch(() => this.known.get(endpointId) === read && this.known.delete(endpointId))
    return read
  }

  async read(endpointId: string): Promise<Known> {
    const known = knownFrom(await evidenceOf(this.site.store.db, endpointId))
    // What was accepted and is not written yet counts all the same.
    const waiting = this.#pending.get(endpointId)
    const isNewer = waiting !== undefined && waiting.sequence > known.stored
    return isNewer ? { ...known, ratchet: { sequence: waiting.sequence, basis: waiting.basis } } : known
  }

  /** Evidence that repeats what was said: counted, and written with the next batch. */
  repeat(endpointId: string, known: Known, ratchet: Ratchet, at: number): void {
    const before = this.#pending.get(endpointId)
    const after = before?.after ?? known.stored
    this.#acceptedAt = this.site.now()
    this.#pending.set(endpointId, { endpointId, after, ...ratchet, at })
  }

  /** What waits for this endpoint is overtaken by what is written now. */
  drop(endpointId: string): void {
    this.#pending.delete(endpointId)
  }

  async #work(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await sleep(flushMs, undefined, { signal })
        await this.#flush()
        await this.#notePresence()
        if (this.#isWaitedFor()) {
          this.site.returningAt = this.site.now()
          // Of every node: whoever waits here is counted by all of them.
          await this.site.hints.tell({ topic: 'returning' })
        }
        if (!isReturning(this.site)) await this.#noteSilence()
      } catch (error) {
        if (!signal.aborted && !isAway(error))
          this.site.log.error({ err: error }, 'evidence could not be written down')
      }
    }
  }

  /** Whether endpoints wait to be heard: after this node began, and when many come at once, as from a node that has ended. */
  #isWaitedFor(): boolean {
    const now = this.site.now()
    const waiting = this.arrivals.waiting()
    const isNew = now - this.#returnBegan > returnEveryMs
    if (isNew && waiting >= this.site.config.brake.endpoints) this.#returnBegan = now
    return waiting > 0 && now - this.#returnBegan < longestReturnMs
  }

  async #flush(): Promise<void> {
    const batch = this.#pending
    if (batch.size === 0) return
    this.#pending = new Map()
    let held: ReadonlySet<string>
    try {
      held = await recordRepeatedEvidence(this.site.store.db, [...batch.values()])
    } catch (error) {
      // It waits on, unless something newer was said meanwhile.
      for (const [id, one] of batch) {
        const newer = this.#pending.get(id)
        this.#pending.set(id, newer === undefined ? one : { ...newer, after: one.after })
      }
      throw error
    }
    for (const [id, one] of batch) {
      if (!held.has(id)) await this.#reconcile(one)
      const known = await this.known.get(id)?.catch(() => undefined)
      if (known !== undefined) known.stored = Math.max(known.stored, one.sequence)
    }
  }

  /** The database has something else than this node thought: another node, or another machine with this endpoint's key. */
  async #reconcile(one: RepeatedEvidence): Promise<void> {
    try {
      await changeKnowledge(this.site, one.endpointId, (before) => {
        if (before === undefined || before.forked_at !== null) return undefined
        const ratchet = ratchetOf(before)
        // An older connection of the same machine, whose last word was overtaken.
        const isOvertaken =
          (before.last_at?.getTime() ?? 0) >= one.at && (ratchet?.sequence ?? 0) >= one.sequence
        if (isOvertaken) return undefined
        return {
          knowledge: { ...knowledgeOf(before), lastAt: one.at },
          ratchet: follow(ratchet, one),
          silent: false,
        }
      })
    } catch (error) {
      if (!(error instanceof EvidenceError)) throw error
      await this.refuse(one.endpointId, error)
    }
    this.forget(one.endpointId)
  }

  /** Writes down that evidence was not taken. A fork takes effect at once, and so does a quote that proves nothing. */
  async refuse(endpointId: string, error: EvidenceError | TpmError): Promise<void> {
    const { site } = this
    const { code, message } = error
    const isNew = site.now() - (this.refusals.get(endpointId) ?? 0) > 60_000
    if (isNew)
      await site.audit.record('evidence-refused', { type: 'endpoint', id: endpointId }, undefined, {
        code,
        reason: message.slice(0, 500),
      })
    // Once the log has it: while the database is away this is tried again.
    this.refusals.set(endpointId, site.now())
    site.metrics.count('evidence_refused', { code })
    if (code === 'EVIDENCE_FORKED' || code === 'TPM_PUT_BACK') {
      this.drop(endpointId)
      await markForked(site, endpointId)
      this.forget(endpointId)
    } else if (error instanceof TpmError) {
      await forgetAttested(site, endpointId)
      this.forget(endpointId)
    }
  }

  async #notePresence(): Promise<void> {
    if (this.#heard.size === 0) return
    const ids = [...this.#heard].filter((id) => this.#connected.has(id))
    this.#heard.clear()
    const now = this.site.now()
    for (const id of ids) this.#present.set(id, now)
    await recordPresence(this.site.store.db, ids, new Date(now))
  }

  async #noteSilence(): Promise<void> {
    const { site } = this
    const since = new Date(site.now() - evidenceSilenceMs)
    for (const id of await quietEndpoints(site.store.db, since)) {
      await changeKnowledge(
        site,
        id,
        (before) =>
          before === undefined || before.silent || before.last_at === null || before.last_at >= since
            ? undefined
            : {
                knowledge: knowledgeOf(before),
                silent: true,
                isAnnounced: before.left_at !== null && before.left_at >= before.last_at,
              },
        { type: 'system', id: 'trust' },
      )
      this.forget(id)
    }
  }
}
