import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { makeToken } from '#adapters/pki-x509/index.ts'
import { enrolmentRequestMade, enrolmentRequestState } from '#core/api/device-keys.ts'
import { AgentError } from './agent-error.ts'
import { requireReplaceable } from './earlier-identity.ts'
import { proveSite } from './enrol-agent.ts'
import { postJson } from './request-json.ts'

const askEveryMs = 2_000

/** A machine that asked to be let in. */
export interface Waiting {
  /** What the person reads to the admin. */
  readonly code: string
  readonly expiresAt: string
  /**
   * Until an admin has answered.
   *
   * @returns the token that approval has made of the machine's own secret: `enrolAgent` goes on with it
   * @throws {AgentError} AGENT_REFUSED, also when nobody answered in time; the reason of `signal`
   */
  approved(signal?: AbortSignal): Promise<string>
}

/**
 * Asks a site to take this machine as an endpoint, without a token.
 *
 * @param wish.rootHash SHA-256 of the root certificate's DER: without it anybody could answer
 * @param wish.dir where the identity will be
 * @throws {AgentError} AGENT_ENROLLED_ALREADY, AGENT_SITE_AWAY, AGENT_SITE_REFUSED
 * @throws {PkiError} PKI_PIN_MISMATCH
 */
export async function requestApproval(
  wish: { readonly url: string; readonly rootHash: Uint8Array; readonly name: string; readonly dir: string },
  signal?: AbortSignal,
): Promise<Waiting> {
  const { url, rootHash, name, dir } = wish
  await requireReplaceable(dir, { kind: 'endpoint', rootHash }, signal)
  const { rootPem, tls } = await proveSite(url, rootHash, signal)
  const secret = randomBytes(32)
  const body = { secret: secret.toString('base64url') }
  const path = new URL('/api/v1/enrolment-requests', url)
  const made = await postJson(path, { ...body, name }, enrolmentRequestMade, tls, signal)
  const stateUrl = new URL('/api/v1/enrolment-requests/state', url)
  return {
    ...made,
    approved: async (until) => {
      for (;;) {
        const state = await postJson(stateUrl, body, enrolmentRequestState, tls, until).then(
          (answer) => answer.state,
          (error: unknown) => {
            // A site that is away for a moment has not refused.
            if (error instanceof AgentError && error.code === 'AGENT_SITE_AWAY') return 'waiting'
            throw error
          },
        )
        if (state === 'approved') return makeToken('endpoint', secret, rootPem)
        if (state === 'refused')
          throw new AgentError('AGENT_REFUSED', 'no admin has let this machine in', {
            remedy: 'Ask again, or have an admin make a token.',
          })
        await sleep(askEveryMs, undefined, until === undefined ? {} : { signal: until })
      }
    },
  }
}
