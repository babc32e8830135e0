import type { Observation } from '#core/evidence/observation.ts'
import { days, daysBetween, type PostureLimits } from '../limits.ts'
import { observe, unknown } from '../observe.ts'
import { linesOf } from '../read-text.ts'

/** What ClamAV's clamd says of itself. */
export interface ClamdVersion {
  /** `1.4.3` */
  readonly engine: string
  /** Number of the daily signatures; absent where there are only an organisation's own. */
  readonly signatures?: number
  /** When those were made, Unix ms. */
  readonly signedAt?: number
}

/** @param signaturesAt the newest file among the signatures, Unix ms */
export type ClamdState =
  | { readonly state: 'absent' }
  | { readonly state: 'silent'; readonly why: string }
  | { readonly state: 'hangs'; readonly signaturesAt: number | undefined }
  | {
      readonly state: 'answers'
      readonly version: ClamdVersion | undefined
      readonly signaturesAt: number | undefined
    }

const claim = 'endpoint.antivirus'
const collector = 'clamd'
/** clamd looks for new signatures every ten minutes by default, if it is not told of them, and takes minutes to load them on a slow machine. */
const loadingMs = 15 * 60_000

/** Running with signatures that are young enough is `on`. */
export function judgeClamd(clamd: ClamdState, limits: PostureLimits, now: number): Observation {
  if (clamd.state === 'absent') return observe(claim, 'off', collector, 'ClamAV is not installed')
  if (clamd.state === 'silent') return observe(claim, 'off', collector, `clamd does not run: ${clamd.why}`)
  const { signaturesAt } = clamd
  if (clamd.state === 'hangs')
    // Where memory is too short for the old and the new ones it answers nobody meanwhile (ConcurrentDatabaseReload).
    return signaturesAt !== undefined && Math.abs(now - signaturesAt) < loadingMs
      ? unknown(claim, collector, 'clamd does not answer; signatures have come that it may be loading')
      : observe(claim, 'off', collector, 'clamd does not answer')
  const { version } = clamd
  if (version === undefined) return unknown(claim, collector, 'clamd gave an answer that is none of ClamAV')
  const { engine, signatures, signedAt } = version
  const name = `ClamAV ${engine}${signatures === undefined ? '' : `, signatures ${signatures}`}`
  const at = signedAt ?? signaturesAt
  if (at === undefined) return unknown(claim, collector, `${name}: the age of its signatures cannot be told`)
  const age = daysBetween(at, now)
  const value = age > limits.signatureMaxAgeDays ? 'outdated' : 'on'
  return observe(claim, value, collector, `${name} runs, signatures ${days(age)} old`)
}

/**
 * The answer to `VERSION`: `ClamAV 1.4.3/27810/Mon Nov 10 09:46:29 2026`, without the last two where there are no daily signatures.
 * clamd(8). The time is local, taken as UTC: only days count.
 */
export function parseClamdVersion(answer: string): ClamdVersion | undefined {
  const [, engine, signatures, date] =
    /^ClamAV ([0-9][\w.+~-]{0,40})(?:\/(\d{1,9})\/([\w :]{1,40}))?\s*$/.exec(answer.slice(0, 200)) ?? []
  if (engine === undefined) return undefined
  const signedAt = Date.parse(`${date} UTC`)
  if (signatures === undefined || Number.isNaN(signedAt)) return { engine }
  return { engine, signatures: Number(signatures), signedAt }
}

/** Where clamd listens and where its signatures are. */
export interface ClamdPlaces {
  readonly socket?: string | undefined
  readonly port?: { readonly host: string; readonly port: number } | undefined
  readonly signatures: string
}

/** clamd.conf(5): a keyword and a value in each line. */
export function parseClamdConf(text: string): ClamdPlaces {
  const fields = new Map(
    linesOf(text).flatMap((line): [string, string][] => {
      const [, key, value] = /^([A-Za-z]+)\s+(\S.*)$/.exec(line.trim()) ?? []
      return key === undefined || value === undefined ? [] : [[key, value.replaceAll(/^"|"$/g, '')]]
    }),
  )
  const port = Number(fields.get('TCPSocket'))
  return {
    socket: fields.get('LocalSocket'),
    signatures: fields.get('DatabaseDirectory') ?? '/var/lib/clamav',
    ...(Number.isInteger(port) && port > 0 && port < 65_536
      ? { port: { host: fields.get('TCPAddr') ?? '127.0.0.1', port } }
      : {}),
  }
}
