import type { RequestOptions } from 'node:https'
import { findTpm, type Tpm, TpmDeviceError } from '#adapters/tpm/index.ts'
import { type TpmActivation, tpmChallengeAnswer } from '#core/api/device-keys.ts'
import { requestHash } from '#core/tpm/index.ts'
import { AgentError } from './agent-error.ts'
import type { AgentIdentity } from './agent-identity.ts'
import { postJson } from './request-json.ts'

/** Whether a TPM holds what the machine is known by: where there is one that the site can believe, never, or the one that is reached so. */
export type TpmChoice = 'auto' | 'none' | { readonly tcti: string; readonly eventLog?: string | undefined }

/** A TPM that answered the site's challenge. */
export interface ProvenTpm {
  readonly activation: TpmActivation
  readonly place: NonNullable<AgentIdentity['tpm']>
  /** What was made in the TPM is removed when the site does not take it. */
  undo(): Promise<void>
}

/**
 * Makes an attestation key in the machine's TPM and proves to the site that it is there.
 *
 * @param ask.tls of a connection to the site that is proven
 * @param note tells why `auto` leaves a TPM alone
 * @returns undefined when the choice leaves it to a file
 * @throws {TpmDeviceError}
 * @throws {AgentError} AGENT_SITE_REFUSED
 */
export async function proveTpm(
  choice: TpmChoice,
  ask: {
    readonly url: string
    readonly tls: RequestOptions
    readonly token: string
    readonly request: string
  },
  note: (text: string) => void,
  signal?: AbortSignal,
): Promise<ProvenTpm | undefined> {
  if (choice === 'none') return undefined
  const place = choice === 'auto' ? {} : choice
  const tpm = await findTpm(place, signal)
  if (tpm === undefined) return undefined
  try {
    return await prove(tpm, place, ask, signal)
  } catch (error) {
    if (choice !== 'auto' || !isUnbelievable(error)) throw error
    note(`The TPM of this machine is not used: ${error.message}.`)
    return undefined
  }
}

async function prove(
  tpm: Tpm,
  { eventLog }: { readonly eventLog?: string | undefined },
  { url, tls, token, request }: Parameters<typeof proveTpm>[1],
  signal: AbortSignal | undefined,
): Promise<ProvenTpm> {
  const endorsement = await tpm.readEndorsement(signal)
  const key = await tpm.createAttestationKey(signal)
  const undo = async (): Promise<void> => {
    await tpm.removeAttestationKey(key.handle).catch(() => undefined)
  }
  try {
    const keys = {
      ekCertificate: endorsement.certificate.toString('base64url'),
      ekPublic: endorsement.publicArea.toString('base64url'),
      akPublic: key.publicArea.toString('base64url'),
    }
    const { challenge, credential } = await postJson(
      new URL('/api/v1/enrol/challenges', url),
      { token, request, ...keys },
      tpmChallengeAnswer,
      tls,
      signal,
    )
    const secret = await tpm.activate(key.handle, Buffer.from(credential, 'base64url'), signal)
    const { quote, signature, pcrs } = await tpm.quote(key.handle, requestHash(request), signal)
    const attestation = {
      quote: quote.toString('base64url'),
      signature: signature.toString('base64url'),
      pcrs: pcrs.toString('base64url'),
    }
    return {
      activation: { challenge, secret: secret.toString('base64url'), attestation },
      place: { tcti: tpm.tcti, handle: key.handle, ...(eventLog === undefined ? {} : { eventLog }) },
      undo,
    }
  } catch (error) {
    await undo()
    throw error
  }
}

/** There is nobody who could vouch for it. A maker that the site does not trust is another matter, and said. */
function isUnbelievable(error: unknown): error is Error {
  if (error instanceof TpmDeviceError) return error.code === 'TPM_NO_CERTIFICATE'
  return error instanceof AgentError && error.siteCode === 'TPM_NOT_CONFIGURED'
}
