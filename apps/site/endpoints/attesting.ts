import { createHash } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { type AgentRow, agentById, type BootRecord, replaceBoot } from '#adapters/store-postgres/index.ts'
import {
  type Attestation,
  type Attested,
  type Boot,
  bootDifference,
  bootOf,
  decodeEventLog,
  decodePublicArea,
  decodeQuote,
  isSameBoot,
  requireMatch,
  TpmError,
  type VerifiedQuote,
  verifyQuote,
} from '#core/tpm/index.ts'
import type { Site } from '../site.ts'
import { notFound, SiteError } from '../site-error.ts'

/**
 * What a quote of an endpoint's enrolled TPM proves. The first boot that is attested is the one that is expected from then on; another
 * one is `changed` until an admin accepts it. What is new is kept, and in the audit log first.
 *
 * @param endpoint as the database has it
 * @param attestation untrusted
 * @param extraData what the quote must be over: a hash with the site's nonce in it, 32 bytes
 * @throws {TpmError} TPM_NOT_ENROLLED (its key is in a file), TPM_QUOTE_FORGED (another TPM, other bytes), TPM_QUOTE_WRONG_NONCE,
 *   TPM_QUOTE_WRONG_PCRS, TPM_LOG_MALFORMED, TPM_LOG_MISMATCH, TPM_PUT_BACK, TPM_MALFORMED, TPM_UNSUPPORTED
 */
export async function attest(
  site: Site,
  endpoint: AgentRow,
  attestation: Attestation,
  extraData: Uint8Array,
): Promise<Attested> {
  const quoted = verifyBoot(akPublicOf(endpoint), attestation, extraData)
  const known = endpoint.boot ?? undefined
  const next = nextRecord(site, endpoint, known, quoted)
  // As a rule nothing is new, and the database is not asked. Else it decides: an admin may have accepted another boot since `endpoint` was read.
  if (isDeepStrictEqual(next, known) && changesOf(next) === undefined) return attestedOf(next)
  return attestedOf(
    await changeBoot(site, endpoint.id, async (row) => {
      const record = nextRecord(site, row, row.boot ?? undefined, quoted)
      await recordChange(site, row, record)
      return record
    }),
  )
}

/** What the last quote of an endpoint's TPM told. As a rule the next one tells the same, and nobody need be asked what is known of its boots. */
export interface LastQuote {
  /** Of the key that signs them: TPMT_PUBLIC, of which OpenSSL would make kilobytes. */
  readonly akPublic: Uint8Array
  /** Hex. */
  readonly pcrDigest: string
  readonly attested: Attested
}

/**
 * The same as `attest`, of an endpoint that quotes again and again.
 *
 * @param last what it gave the last time, unless something else may have changed what is known of its boots since
 * @returns undefined when there is no such endpoint
 * @throws {TpmError} as `attest`
 */
export async function attestAgain(
  site: Site,
  endpointId: string,
  last: LastQuote | undefined,
  attestation: Attestation,
  extraData: Uint8Array,
): Promise<LastQuote | undefined> {
  if (last !== undefined && attestation.eventLog === undefined) {
    const { pcrDigest, clockInfo } = quoteOf(last.akPublic, attestation, extraData)
    const isSame = clockInfo.resetCount === last.attested.resetCount
    if (isSame && hexOf(pcrDigest) === last.pcrDigest) return last
  }
  const endpoint = await agentById(site.store.db, endpointId)
  if (endpoint === undefined) return undefined
  const attested = await attest(site, endpoint, attestation, extraData)
  // Copied: a piece of a row, kept for as long as the connection, would keep the 64 KiB that it was read into.
  const akPublic = Uint8Array.from(akPublicOf(endpoint))
  const { pcrDigest } = decodeQuote(bytesOf(attestation.quote))
  return { akPublic, pcrDigest: hexOf(pcrDigest), attested }
}

/** @throws {TpmError} TPM_NOT_ENROLLED */
function akPublicOf({ ak_public: akPublic, name }: AgentRow): Uint8Array {
  if (akPublic !== null) return akPublic
  throw new TpmError('TPM_NOT_ENROLLED', `endpoint ${name} was not enrolled with a TPM`, {
    remedy: 'Enrol it again with --tpm auto.',
  })
}

/** What a quote tells. */
interface QuotedBoot {
  readonly boot: Boot
  readonly resetCount: number
}

const mostTries = 5

/**
 * Changes what is known of an endpoint's boots; of several that would at once, each sees what the one before left.
 *
 * @param next told what is so now; gives what is so from now on, and may run again
 * @throws {SiteError} NOT_FOUND; what `next` throws: then nothing has changed
 */
export async function changeBoot(
  site: Site,
  endpointId: string,
  next: (row: AgentRow) => Promise<BootRecord>,
): Promise<BootRecord> {
  for (let tries = 0; tries < mostTries; tries++) {
    const row = await agentById(site.store.db, endpointId)
    if (row?.kind !== 'endpoint') throw notFound('endpoint')
    const record = await next(row)
    if (isDeepStrictEqual(record, row.boot)) return record
    if (await replaceBoot(site.store.db, endpointId, row.boot, record)) return record
  }
  throw new SiteError('SITE_BUSY', 'what this endpoint booted is being changed', { retryAfter: 1 })
}

/** A quote and the boot it tells of. @throws {TpmError} */
export function verifyBoot(
  akPublic: Uint8Array,
  attestation: Attestation,
  extraData: Uint8Array,
): QuotedBoot {
  const { pcrs, clockInfo } = quoteOf(akPublic, attestation, extraData)
  const log = attestation.eventLog === undefined ? undefined : decodeEventLog(bytesOf(attestation.eventLog))
  if (log !== undefined) requireMatch(log, pcrs)
  return { boot: bootOf(pcrs, log), resetCount: clockInfo.resetCount }
}

function quoteOf(
  akPublic: Uint8Array,
  { quote, signature, pcrs }: Attestation,
  extraData: Uint8Array,
): VerifiedQuote {
  return verifyQuote({
    attest: bytesOf(quote),
    signature: bytesOf(signature),
    publicArea: decodePublicArea(akPublic),
    extraData,
    pcrs: bytesOf(pcrs),
  })
}

/** The first boot that is attested. */
export function firstBoot(boot: Boot, resetCount: number, now: number): BootRecord {
  return { baseline: boot, current: boot, since: new Date(now).toISOString(), resetCount }
}

/** Names a boot by what it is known by. */
export function bootId({ pcrs }: Boot): string {
  return createHash('sha256')
    .update(
      Object.entries(pcrs)
        .map(([pcr, value]) => `${pcr} ${value}`)
        .toSorted()
        .join(),
    )
    .digest('hex')
    .slice(0, 16)
}

/** What changed, for people; undefined while the boot is the expected one. */
export function changesOf({ baseline, current }: BootRecord): readonly string[] | undefined {
  return isSameBoot(baseline, current) ? undefined : bootDifference(baseline, current)
}

/** A log that was seen of the same boot explains it without being sent again; PCR 7 alone says whether Secure Boot was on. */
function explainedBy(before: BootRecord | undefined, boot: Boot): Boot {
  if (boot.components !== undefined) return boot
  const known = [before?.current, before?.baseline].filter((one) => one !== undefined)
  const same = known.find((one) => one.components !== undefined && isSameBoot(one, boot))
  const secureBoot = known.find(({ pcrs }) => pcrs['7'] === boot.pcrs['7'])?.secureBoot
  return {
    pcrs: boot.pcrs,
    ...(secureBoot === undefined ? {} : { secureBoot }),
    ...(same?.components === undefined ? {} : { components: same.components }),
  }
}

/** @throws {TpmError} TPM_PUT_BACK */
function nextRecord(
  site: Site,
  { name }: Pick<AgentRow, 'name'>,
  before: BootRecord | undefined,
  { boot: quoted, resetCount }: QuotedBoot,
): BootRecord {
  const boot = explainedBy(before, quoted)
  const first = firstBoot(boot, resetCount, site.now())
  if (before === undefined) return first
  if (resetCount < before.resetCount)
    throw new TpmError(
      'TPM_PUT_BACK',
      `the TPM of ${name} was reset ${before.resetCount} times before, and says ${resetCount} now`,
      { remedy: 'The machine was put back to an earlier state, or is a copy. Enrol it again.' },
    )
  return {
    // The log of the expected boot may come after its first quote.
    baseline: isSameBoot(before.baseline, boot) && boot.components !== undefined ? boot : before.baseline,
    current: boot,
    since: isSameBoot(before.current, boot) ? before.since : first.since,
    resetCount,
  }
}

async function recordChange(site: Site, { id, name, boot }: AgentRow, record: BootRecord): Promise<void> {
  const difference = changesOf(record)
  if (difference === undefined || record.since === boot?.since) return
  await site.audit.record('boot-changed', { type: 'endpoint', id }, undefined, {
    name,
    boot: bootId(record.current),
    difference: difference.slice(0, 50),
  })
}

function attestedOf(record: BootRecord): Attested {
  const { secureBoot = 'unknown', components } = record.current
  const difference = changesOf(record)
  return {
    deviceKey: 'tpm',
    secureBoot,
    bootState: difference === undefined ? 'expected' : 'changed',
    detail: difference === undefined ? `the boot of ${record.since}` : difference.join('; ').slice(0, 300),
    wantLog: components === undefined,
    resetCount: record.resetCount,
  }
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

function bytesOf(text: string): Buffer {
  return Buffer.from(text, 'base64url')
}
