import { z } from 'zod'
import type { BootComponent } from './boot-state.ts'

/** More than any log of a firmware that was seen; those of machines with long deny lists have some 60 KiB. */
export const maxEventLogBytes: number = 512 * 1024

const base64url = (maxBytes: number) =>
  z
    .string()
    .regex(/^[A-Za-z0-9_-]*$/)
    .max(Math.ceil((maxBytes * 4) / 3))

/** What an endpoint with a TPM brings beside a statement: a quote over the statement's hash. Byte strings are base64url. */
export const attestation = z.strictObject({
  /** TPMS_ATTEST of a quote. */
  quote: base64url(1024),
  /** TPMT_SIGNATURE by the enrolled attestation key. */
  signature: base64url(1024),
  /** The quoted PCRs' values one after the other, in the order of the quote's selection. */
  pcrs: base64url(24 * 64),
  /** The firmware's event log; only where it is new to the site. */
  eventLog: base64url(maxEventLogBytes).optional(),
})
export type Attestation = z.infer<typeof attestation>

/** What the site knows of an endpoint after a quote of its enrolled TPM was verified. */
export interface Attested {
  readonly deviceKey: 'tpm'
  /** `unknown` until the site has seen the log of this boot. */
  readonly secureBoot: 'on' | 'off' | 'unknown'
  readonly bootState: 'expected' | 'changed' | 'unknown'
  /** For people: what changed, or what is known. */
  readonly detail: string
  /** The site would learn more from the event log: ask for it. */
  readonly wantLog: boolean
  /** Of the TPM's clock; a machine that was put back to a snapshot shows a lower one. */
  readonly resetCount: number
}

/** One boot of a machine, as its TPM measured it. */
export interface Boot {
  /** SHA-256 values, hex, by PCR. */
  readonly pcrs: Readonly<Record<string, string>>
  /** Absent until a log has explained the values. */
  readonly secureBoot?: 'on' | 'off' | 'unknown'
  readonly components?: readonly BootComponent[]
}
