import { createPrivateKey, hash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import {
  AgentError,
  type AgentLog,
  backoff,
  replaceFile,
  type SiteConnectionTerms,
} from '#apps/agent-client/index.ts'
import type { BeaconToAsk, Challenge, EvidenceMessage, Verdict } from '#core/agent/endpoint-messages.ts'
import type { CodedError } from '#core/errors/coded-error.ts'
import { evidencePeriodMs, makeEvidence, maxObservations, type Observation } from '#core/evidence/index.ts'
import type { Attestation } from '#core/tpm/attestation.ts'
import type { Trouble } from './trouble.ts'

/** Changes that follow one another at once travel together, and a collector that cannot make up its mind does not fill the line. */
const shortestGapMs = 1_000

/** A TPM that is busy signs before long. What it does not sign for so long is said without it: the device's key is worth a file then. */
const quotePatienceMs = 30_000

/** Something that looks at this machine again and again. */
export interface Observer {
  /** Resolves when it has looked at everything once. */
  readonly collected: Promise<unknown>
  /** What it saw last. */
  latest(): readonly Observation[]
  /** @returns how to stop */
  onChange(listener: () => void): () => void
}

/** What the evidence of a machine is made of. */
export interface ReportSources {
  readonly observers: readonly Observer[]
  /** A quote of this machine's TPM; undefined where none is enrolled. */
  readonly quoteOver?: (
    extraData: Uint8Array,
    options: { readonly withLog: boolean },
  ) => Promise<Attestation | undefined>
  /** What a beacon near this machine signs over the site's nonce; undefined when none answers. */
  readonly askBeacon?: (beacons: readonly BeaconToAsk[], nonce: string) => Promise<string | undefined>
}

export interface ReporterOptions {
  /** The endpoint's state folder: the count of its statements is kept there. */
  readonly dir: string
  readonly sources: ReportSources
  readonly send: (message: EvidenceMessage) => void
  readonly onVerdict?: (verdict: Verdict) => void
  readonly log: AgentLog
  /** The wall clock, Unix ms. */
  readonly now?: () => number
}

/**
 * Says to the site what this machine sees of itself: on each new connection, once a minute, and at once when something changes. Each
 * statement answers the challenge that is open, so that none is said in advance or twice.
 */
export class Reporter implements AsyncDisposable {
  readonly #options: ReporterOptions
  readonly #offs: readonly (() => void)[]
  #terms: SiteConnectionTerms | undefined
  #challenge: Challenge | undefined
  #isBusy = false
  /** The report that is under way. */
  #reporting: Promise<void> = Promise.resolve()
  #isDue = false
  /** In a row. */
  #failures = 0
  #lastFailure: string | undefined
  /** What keeps the site from hearing all that it should. */
  #trouble: Trouble | undefined
  #unquotedSince: number | undefined
  #wasAskedForLog = false
  #sentAt = Number.NEGATIVE_INFINITY
  #timer: NodeJS.Timeout | undefined
  #verdict: Verdict | undefined
  #previous: string | undefined
  #acceptedAt: number | undefined

  constructor(options: ReporterOptions) {
    this.#options = options
    this.#offs = options.sources.observers.map((observer) => observer.onChange(() => this.changed()))
  }

  /** What the site last made of the evidence. */
  get verdict(): Verdict | undefined {
    return this.#verdict
  }

  /** When the site is known to have taken evidence from here last, by this machine's wall clock, Unix ms. */
  get acceptedAt(): number | undefined {
    return this.#acceptedAt
  }

  /** Why the site hears nothing of this machine, or nothing of its TPM, and what to do; undefined while it hears all. */
  get trouble(): Trouble | undefined {
    return this.#trouble
  }

  /** A connection stands; the site is about to challenge. */
  connected(terms: SiteConnectionTerms): void {
    this.#terms = terms
    this.#challenge = undefined
    this.#isDue = true
    this.#wasAskedForLog = false
  }

  lost(): void {
    this.#terms = undefined
    this.#challenge = undefined
  }

  /** Something is not as it was said: the site hears of it as soon as it listens. */
  changed(): void {
    this.#isDue = true
    this.#plan()
  }

  receive(message: Challenge | Verdict): void {
    if (message.kind === 'verdict') {
      this.#verdict = message
      if (message.refused !== undefined)
        this.#options.log.warn({ ...message.refused }, 'the site did not take the evidence of this device')
      this.#options.onVerdict?.(message)
      return
    }
    // Each acceptance brings another token, and the next challenge says it.
    if (Number.isFinite(this.#sentAt) && message.previous !== this.#previous)
      this.#acceptedAt = (this.#options.now ?? Date.now)()
    this.#previous = message.previous
    this.#challenge = message
    // What this machine booted is told at once; but once, or a log that explains nothing would be told for ever.
    if (message.wantLog && !this.#wasAskedForLog) {
      this.#wasAskedForLog = true
      this.#isDue = true
    }
    this.#plan()
  }

  /** Nothing of it is written any more when this resolves. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const off of this.#offs) off()
    clearTimeout(this.#timer)
    this.lost()
    await this.#reporting
  }

  #plan(): void {
    clearTimeout(this.#timer)
    if (this.#challenge === undefined || this.#isBusy) return
    const retryMs = this.#failures === 0 ? 0 : backoff(this.#failures)
    const pauseMs = this.#isDue ? Math.max(shortestGapMs, retryMs) : evidencePeriodMs
    const waitMs = Math.max(0, this.#sentAt + pauseMs - performance.now())
    this.#timer = setTimeout(() => {
      this.#reporting = this.#report()
    }, waitMs)
    this.#timer.unref()
  }

  async #report(): Promise<void> {
    this.#isBusy = true
    await Promise.all(this.#options.sources.observers.map(({ collected }) => collected))
    const [challenge, terms] = [this.#challenge, this.#terms]
    if (challenge !== undefined && terms !== undefined) {
      // Before it looks: what changes from here on is said next.
      this.#isDue = false
      this.#challenge = undefined
      this.#sentAt = performance.now()
      try {
        const message = await this.#evidence(challenge, terms)
        this.#failures = 0
        if (this.#unquotedSince === undefined) this.#lastFailure = this.#trouble = undefined
        if (this.#terms === terms) this.#options.send(message)
      } catch (error) {
        // What was not said has used nothing, and the site gives no other challenge before this one is answered.
        if (this.#terms === terms) this.#challenge ??= challenge
        this.#isDue = true
        this.#failures += 1
        this.#noteTrouble(error, 'this device could not state its evidence')
      }
    }
    this.#isBusy = false
    this.#plan()
  }

  /** What fails again and again is said once. */
  #noteTrouble(error: unknown, what: string): void {
    const { message, remedy = remedyOf(error) } = error as Partial<CodedError>
    this.#trouble = { message: `${what}: ${message}`, ...(remedy !== undefined && { remedy }) }
    if (String(error) === this.#lastFailure) return
    this.#lastFailure = String(error)
    this.#options.log.warn({ err: error }, what)
  }

  async #quote(statement: string, withLog: boolean): Promise<Attestation | undefined> {
    try {
      const attestation = await this.#options.sources.quoteOver?.(hash('sha256', statement, 'buffer'), {
        withLog,
      })
      this.#unquotedSince = undefined
      return attestation
    } catch (error) {
      this.#unquotedSince ??= this.#sentAt
      if (performance.now() - this.#unquotedSince < quotePatienceMs) throw error
      this.#noteTrouble(error, 'this device states its evidence without its TPM')
      return undefined
    }
  }

  async #evidence(
    challenge: Challenge,
    { identity, exporter }: SiteConnectionTerms,
  ): Promise<EvidenceMessage> {
    const { sources, now = Date.now, dir } = this.#options
    const { nonce, previous } = challenge
    const beacon =
      challenge.beacons.length === 0 ? undefined : await sources.askBeacon?.(challenge.beacons, nonce)
    const sequence = await takeNumber(dir, previous)
    const statement = makeEvidence(
      {
        endpoint: identity.id,
        site: identity.siteId,
        nonce,
        ...sequence,
        at: now(),
        exporter,
        observations: sources.observers.flatMap((observer) => observer.latest()).slice(0, maxObservations),
        ...(beacon === undefined ? {} : { beacon }),
      },
      createPrivateKey(identity.privateKeyPem),
    )
    const attestation = await this.#quote(statement, challenge.wantLog)
    return { kind: 'evidence', statement, ...(attestation === undefined ? {} : { attestation }) }
  }
}

/** @returns what to do about an error of the operating system */
function remedyOf(error: unknown): string | undefined {
  const isFull = error instanceof Error && 'code' in error && error.code === 'ENOSPC'
  return isFull ? 'Make room on the disk of this device.' : undefined
}

const counted = z.strictObject({
  /** Of the last statement that may have been said. */
  sequence: z.int().min(0),
  previous: z.string().max(128).optional(),
})

/**
 * The next number, and what the site gave with its last acceptance. INVARIANT: they are on disk before they are said, so that after a crash
 * no number is said twice. What is here is read anew each time: it is this machine's, not this process's.
 *
 * @throws {AgentError} AGENT_COUNT_DAMAGED
 */
export async function takeNumber(
  dir: string,
  heard: string | undefined,
): Promise<{ readonly sequence: number; readonly previous?: string }> {
  const path = join(dir, 'evidence.json')
  const before = await readCount(path)
  const previous = heard ?? before.previous
  const next = { sequence: before.sequence + 1, ...(previous === undefined ? {} : { previous }) }
  await replaceFile(path, `${JSON.stringify(next)}\n`)
  return next
}

async function readCount(path: string): Promise<z.infer<typeof counted>> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '{"sequence":0}'
    throw error
  })
  try {
    return counted.parse(JSON.parse(text))
  } catch (cause) {
    throw new AgentError('AGENT_COUNT_DAMAGED', `${path} is not what was written there`, {
      remedy:
        'Restore it, or remove it: the site then takes this device for a copy, until an admin lets it begin anew under Endpoints.',
      cause,
    })
  }
}
