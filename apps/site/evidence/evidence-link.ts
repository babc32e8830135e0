import { hash, type KeyObject, randomBytes } from 'node:crypto'
import type { Logger } from 'pino'
import { endpointKeys, evidenceOf, statementsOf } from '#adapters/store-postgres/index.ts'
import type { EvidenceMessage, SiteToEndpoint } from '#core/agent/endpoint-messages.ts'
import { readPublicKey } from '#core/ecdsa/index.ts'
import {
  type AcceptedEvidence,
  type AttestedValues,
  acceptEvidence,
  type Challenge,
  EvidenceError,
  faultsIn,
  follow,
  holdFaults,
  type Ratchet,
  ratchetToken,
} from '#core/evidence/index.ts'
import { TpmError } from '#core/tpm/index.ts'
import { attestAgain } from '../endpoints/attesting.ts'
import { decideAgain } from '../launches/decide-again.ts'
import type { Site } from '../site.ts'
import type { Turns } from '../turns.ts'
import type { Beacons } from './beacons.ts'
import { changeKnowledge, evidenceAt, knowledgeOf, ratchetOf, recordOtherConnection } from './evidence.ts'
import { detailsOf, fingerprintOf, type Known, type Taken } from './evidence-known.ts'
import { endpointClaimsOf } from './evidence-views.ts'
import { notePutBack } from './put-back.ts'

/** One connection over which an endpoint reports: each of its statements answers a challenge of this connection. */

/** What collectors saw, where only its wording changes. */
const detailMs = 15 * 60_000

export interface ReportingConnection {
  readonly endpointId: string
  /** Of the certificate that the connection was opened with: SubjectPublicKeyInfo, of which OpenSSL would make kilobytes. */
  readonly publicKey: Uint8Array
  /** Of this end of the connection; undefined when it cannot be compared. */
  readonly exporter: string | undefined
  /** From where it comes. */
  readonly address: string
  readonly send: (message: SiteToEndpoint) => void
  /** Ends the connection. */
  readonly end: () => void
  readonly log: Logger
}

export interface EvidenceLink {
  /**
   * @param receivedAt Unix ms: it may have waited for others, and is no older for that
   * @throws what the database throws: the same message comes again
   */
  receive(message: EvidenceMessage, receivedAt: number): Promise<void>
  /** @param isAnnounced whether the endpoint said goodbye */
  close(isAnnounced: boolean): void
}

/**
 * A statement that is being taken, through as many tries as it takes until the database answers. That a try was written and nobody heard so
 * must not make the next one look like the word of another machine; and what was taken is not taken again.
 */
interface Turn {
  readonly statement: string
  readonly receivedAt: number
  readonly challenge: Challenge | undefined
  /** What was known before it. */
  readonly ratchet: Ratchet | undefined
  /** What the database had before it; see `Known`. */
  stored: number
  wasTried: boolean
  outcome: Outcome | undefined
}

/** What became of a statement. */
interface Outcome {
  /** Its number; undefined when it was refused. */
  readonly accepted?: number
  readonly refused?: EvidenceError | TpmError
  /** There is something new to say to the endpoint. */
  readonly isNews: boolean
}

/** What the connections of a node share: see `evidence-desk.ts`. */
export interface Desk {
  readonly site: Site
  /** Makes ratchet tokens. */
  readonly secret: KeyObject
  readonly beacons: Beacons
  readonly arrivals: Turns
  knownOf(endpointId: string): Promise<Known>
  /** Evidence that repeats what was said is written with the next batch. */
  repeat(endpointId: string, known: Known, ratchet: Ratchet, at: number): void
  /** What waits for this endpoint is overtaken. */
  drop(endpointId: string): void
  refuse(endpointId: string, error: EvidenceError | TpmError): Promise<void>
  /** Evidence that changes something was written down. */
  wrote(): void
  /** Evidence that was accepted could not be written down. */
  couldNotWrite(): void
  /** A connection is over. */
  left(link: DeskLink, isAnnounced: boolean): void
}

export class DeskLink implements EvidenceLink {
  readonly endpointId: string
  /** Unix ms. */
  readonly openedAt: number
  /** Its identity was seen on two machines when it last said something: no evidence of it is accepted. */
  isForked = false
  readonly #desk: Desk
  readonly #connection: ReportingConnection
  #challenge: Challenge | undefined
  #turn: Turn | undefined
  #wantLog = false
  #hasSaid = false
  #isClosed = false

  constructor(desk: Desk, connection: ReportingConnection) {
    this.endpointId = connection.endpointId
    this.openedAt = desk.site.now()
    this.#desk = desk
    this.#connection = connection
    this.#ask(undefined).catch((error: unknown) => {
      connection.log.warn({ err: error }, 'the endpoint could not be challenged; it dials again')
      connection.end()
    })
  }

  close(isAnnounced: boolean): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#desk.left(this, isAnnounced)
  }

  async receive(message: EvidenceMessage, receivedAt: number): Promise<void> {
    const receive = async (): Promise<void> => this.#receive(message, receivedAt)
    return this.#hasSaid ? receive() : this.#desk.arrivals.take(receive, this.endpointId)
  }

  async #receive(message: EvidenceMessage, receivedAt: number): Promise<void> {
    const known = await this.#desk.knownOf(this.endpointId)
    this.isForked = known.isForked
    const turn = this.#turnOf(message, known, receivedAt)
    turn.outcome ??= await this.#judge(message, known, turn)
    const { accepted, refused, isNews } = turn.outcome
    if (isNews || !this.#hasSaid) await this.#say(refused, accepted === undefined ? undefined : receivedAt)
    await this.#ask(accepted)
    this.#turn = undefined
  }

  /** A challenge is answered once, by the first statement that comes. */
  #turnOf({ statement }: EvidenceMessage, { ratchet, stored }: Known, receivedAt: number): Turn {
    if (this.#turn?.statement === statement) return this.#turn
    const challenge = this.#challenge
    this.#challenge = undefined
    this.#turn = { statement, receivedAt, challenge, ratchet, stored, wasTried: false, outcome: undefined }
    return this.#turn
  }

  async #judge(message: EvidenceMessage, known: Known, turn: Turn): Promise<Outcome> {
    const desk = this.#desk
    const { endpointId, log } = this.#connection
    try {
      const accepted = await this.#accept(turn, known)
      await notePutBack(desk.site, turn.ratchet, accepted.ratchet)
      // Another connection of the same key is judged after this one.
      known.ratchet = accepted.ratchet
      const attested = await this.#attest(message, known)
      const beacon = await desk.beacons.seenIn(accepted.statement, this.#connection)
      const isNews = await this.#take({ ...accepted, attested, beacon }, known, turn)
      return { accepted: accepted.ratchet.sequence, isNews }
    } catch (error) {
      if (!(error instanceof EvidenceError) && !(error instanceof TpmError)) {
        known.ratchet = turn.ratchet
        desk.couldNotWrite()
        throw error
      }
      log.warn({ code: error.code, reason: error.message }, 'evidence was refused')
      await desk.refuse(endpointId, error)
      return { refused: error, isNews: true }
    }
  }

  async #accept(
    { statement, receivedAt, challenge, ratchet }: Turn,
    known: Known,
  ): Promise<AcceptedEvidence> {
    const { site, secret } = this.#desk
    const { endpointId, publicKey, exporter } = this.#connection
    if (known.isForked)
      throw new EvidenceError('EVIDENCE_FORKED', 'this identity was seen on two machines, or was put back', {
        remedy: 'An admin lets it begin anew, or revokes it.',
      })
    const expected = {
      endpointId,
      siteId: site.siteId,
      challenge,
      ratchet,
      secret,
      exporter,
      nowMs: receivedAt,
    }
    try {
      return acceptEvidence(statement, { ...expected, keys: [readPublicKey(publicKey)] })
    } catch (error) {
      if (!(error instanceof EvidenceError) || error.code !== 'EVIDENCE_FORGED') throw error
      // Its certificate was renewed since it connected.
      const rows = await endpointKeys(site.store.db, endpointId, new Date(site.now()))
      return acceptEvidence(statement, { ...expected, keys: rows.map(readPublicKey) })
    }
  }

  async #attest(
    { attestation, statement }: EvidenceMessage,
    known: Known,
  ): Promise<AttestedValues | undefined> {
    if (attestation === undefined) return undefined
    const { site } = this.#desk
    const extraData = hash('sha256', statement, 'buffer')
    known.quote = await attestAgain(site, this.#connection.endpointId, known.quote, attestation, extraData)
    if (known.quote === undefined) return undefined
    const { deviceKey, secureBoot, bootState, detail, wantLog } = known.quote.attested
    this.#wantLog = wantLog
    return { deviceKey, secureBoot, bootState, detail }
  }

  /** @returns whether there is something new to say to the endpoint */
  async #take(taken: Taken, known: Known, turn: Turn): Promise<boolean> {
    const { statement, ratchet, seen, attested, beacon } = taken
    const desk = this.#desk
    const { endpointId, address } = this.#connection
    const observations = holdFaults(known.faults, statement.observations)
    const at = turn.receivedAt
    desk.site.metrics.count('evidence_accepted')
    const fingerprint = fingerprintOf({ observations, attested, seen, address, beacon })
    const details = detailsOf(observations)
    const isWorded = details === known.details || at - known.writtenAt < detailMs
    // A beacon's word counts for as long as it is written to be old.
    if (
      !turn.wasTried &&
      known.isQuiet &&
      beacon === undefined &&
      fingerprint === known.fingerprint &&
      isWorded
    ) {
      desk.repeat(endpointId, known, ratchet, at)
      return false
    }
    desk.drop(endpointId)
    if (seen.interception === 'detected') await recordOtherConnection(desk.site, endpointId)
    const wasTried = turn.wasTried
    if (!wasTried) turn.stored = known.stored
    turn.wasTried = true
    let wasWritten = false
    const written = await changeKnowledge(desk.site, endpointId, (before) => {
      const stored = Number(before?.sequence ?? 0)
      wasWritten = wasTried && stored === ratchet.sequence && before?.last_at?.getTime() === at
      // Somebody else may have accepted evidence of this endpoint since this node looked.
      if (stored > turn.stored && !wasWritten) follow(ratchetOf(before), ratchet)
      const { path } = knowledgeOf(before)
      return {
        knowledge: {
          lastAt: at,
          observations: holdFaults(before?.observations ?? [], statement.observations),
          attested,
          seen,
          path,
          isForked: false,
        },
        ratchet,
        address,
        beacon,
        silent: false,
      }
    })
    // What hangs on it was perhaps not told to be decided.
    if (wasWritten) await decideAgain(desk.site, 'evidence', { fromEndpointId: endpointId })
    desk.wrote()
    Object.assign(known, { fingerprint, details, writtenAt: at, isQuiet: true, stored: ratchet.sequence })
    known.faults = faultsIn(observations)
    return wasWritten || (written?.changes.length ?? 0) > 0
  }

  async #ask(accepted: number | undefined): Promise<void> {
    const { endpointId, send, address } = this.#connection
    const beacons = [...(await this.#desk.beacons.toAsk(address))]
    if (this.#isClosed) return
    const nonce = randomBytes(32).toString('base64url')
    this.#challenge = { nonce, issuedAt: this.#desk.site.now() }
    const previous =
      accepted === undefined ? undefined : ratchetToken(this.#desk.secret, endpointId, accepted)
    send({
      kind: 'challenge',
      nonce,
      wantLog: this.#wantLog,
      beacons,
      ...(previous === undefined ? {} : { previous }),
    })
  }

  /** @param acceptedAt when it said what was accepted, which need not be written down yet */
  async #say(refused: EvidenceError | TpmError | undefined, acceptedAt: number | undefined): Promise<void> {
    const { endpointId, send } = this.#connection
    const { site } = this.#desk
    const now = site.now()
    const [row, statements] = await Promise.all([
      evidenceOf(site.store.db, endpointId),
      statementsOf(site.store.db, new Date(now), endpointId),
    ])
    const heard = row && acceptedAt !== undefined ? { ...row, last_at: new Date(acceptedAt) } : row
    const { claims } = evidenceAt(heard, statements, now)
    this.#hasSaid = true
    send({
      kind: 'verdict',
      claims: [...endpointClaimsOf(claims, row?.observations ?? [], row?.attested?.detail, now)],
      ...(refused === undefined
        ? {}
        : {
            refused: {
              code: refused.code,
              message: refused.message.slice(0, 1000),
              ...(refused.remedy === undefined ? {} : { remedy: refused.remedy }),
            },
          }),
    })
  }
}
