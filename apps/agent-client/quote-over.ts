import { openTpm } from '#adapters/tpm/index.ts'
import type { Attestation } from '#core/tpm/index.ts'
import { type AgentIdentity, readIdentity } from './agent-identity.ts'

/**
 * A quote by the TPM that this endpoint was enrolled with.
 *
 * @param of the endpoint's folder, or its identity
 * @param extraData what it is over: at most 32 bytes, as a rule a SHA-256
 * @param options.withLog brings the firmware's event log, where there is one
 * @returns undefined when its key is in a file
 * @throws {TpmDeviceError}, {AgentError} AGENT_NOT_ENROLLED, AGENT_WRONG_KIND
 */
export async function quoteOver(
  of: string | AgentIdentity,
  extraData: Uint8Array,
  options: { readonly withLog: boolean },
  signal?: AbortSignal,
): Promise<Attestation | undefined> {
  const { tpm: place } = typeof of === 'string' ? await readIdentity(of, 'endpoint') : of
  if (place === undefined) return undefined
  const tpm = openTpm(place)
  const { quote, signature, pcrs } = await tpm.quote(place.handle, extraData, signal)
  const log = options.withLog ? await tpm.readEventLog() : undefined
  return {
    quote: quote.toString('base64url'),
    signature: signature.toString('base64url'),
    pcrs: pcrs.toString('base64url'),
    ...(log === undefined ? {} : { eventLog: log.toString('base64url') }),
  }
}
