import { createHash, randomBytes, randomUUID, timingSafeEqual } from 'node:crypto'
import { parseToken, secretHash, verifyRequest } from '#adapters/pki-x509/index.ts'
import {
  type AgentRow,
  insertTpmChallenge,
  isEndpointToken,
  useTpmChallenge,
} from '#adapters/store-postgres/index.ts'
import type { TpmActivation } from '#core/api/device-keys.ts'
import {
  decodePublicArea,
  makeCredential,
  nameOf,
  requestHash,
  requireAttestationKey,
  TpmError,
  verifyEndorsement,
} from '#core/tpm/index.ts'
import type { Site } from '../site.ts'
import { SiteError } from '../site-error.ts'
import { firstBoot, verifyBoot } from './attesting.ts'

/**
 * How an endpoint's attestation key is bound to a TPM that its maker certified, before the token is used:
 *
 *     machine → site   token, request, EK certificate, EK and AK public areas
 *     site → machine   a secret that only this TPM opens, and only while it holds this AK
 *     machine → site   token, request, the secret, a quote by the AK over the request
 *
 * A challenge is for one token, one request and one key; it is used by its first answer, right or wrong.
 */

const challengeLifetimeMs = 120_000
const secretBytes = 32

/**
 * First round.
 *
 * @throws {SiteError} TOKEN_REFUSED, TOO_FAST
 * @throws {PkiError} for a malformed token or request
 * @throws {TpmError} TPM_MALFORMED, TPM_UNSUPPORTED, TPM_NOT_CONFIGURED, TPM_EK_UNTRUSTED, TPM_EK_MISMATCH, TPM_KEY_UNFIT
 */
export async function challengeTpm(
  site: Site,
  wish: {
    readonly token: string
    readonly request: string
    readonly ekCertificate: string
    readonly ekPublic: string
    readonly akPublic: string
  },
): Promise<{ readonly challenge: string; readonly credential: string }> {
  const tokenHash = hashOfToken(wish.token)
  verifyRequest(wish.request)
  const now = new Date(site.now())
  if (!(await isEndpointToken(site.store.db, tokenHash, now))) throw tokenRefused()
  const ek = decodePublicArea(bytesOf(wish.ekPublic))
  const ekFingerprint = verifyEndorsement(bytesOf(wish.ekCertificate), ek, site.tpmAuthorities)
  const ak = decodePublicArea(bytesOf(wish.akPublic))
  requireAttestationKey(ak)
  const secret = randomBytes(secretBytes)
  const { idObject, encryptedSecret } = makeCredential(ek, nameOf(ak), secret)
  const challenge = randomUUID()
  const row = {
    id: challenge,
    token_hash: tokenHash,
    request_hash: requestHash(wish.request),
    ak_public: Buffer.from(ak.bytes),
    ek_fingerprint: ekFingerprint,
    secret_hash: sha256(secret),
    expires_at: new Date(now.getTime() + challengeLifetimeMs),
  }
  if (!(await insertTpmChallenge(site.store.db, row, now)))
    throw new SiteError('TOO_FAST', 'this token has too many challenges open', {
      remedy: 'Wait two minutes.',
      retryAfter: challengeLifetimeMs / 1000,
    })
  return { challenge, credential: Buffer.concat([idObject, encryptedSecret]).toString('base64url') }
}

/**
 * Second round.
 *
 * @returns what is stored of the endpoint's TPM
 * @throws {TpmError} TPM_ACTIVATION_UNKNOWN, TPM_ACTIVATION_FAILED, and those of a quote
 */
export async function activated(
  site: Site,
  token: string,
  request: string,
  { challenge, secret, attestation }: TpmActivation,
): Promise<Pick<AgentRow, 'device_key' | 'ak_public' | 'ek_fingerprint' | 'boot'>> {
  const row = await useTpmChallenge(site.store.db, challenge, hashOfToken(token), new Date(site.now()))
  if (row?.request_hash.equals(requestHash(request)) !== true)
    throw new TpmError(
      'TPM_ACTIVATION_UNKNOWN',
      'the challenge is used, expired, or was made for another token or request',
      { remedy: 'Run the command again.' },
    )
  if (!timingSafeEqual(sha256(bytesOf(secret)), row.secret_hash))
    throw new TpmError(
      'TPM_ACTIVATION_FAILED',
      'the TPM of the certified endorsement key did not open the credential',
    )
  const { boot, resetCount } = verifyBoot(row.ak_public, attestation, row.request_hash)
  return {
    device_key: 'tpm',
    ak_public: row.ak_public,
    ek_fingerprint: row.ek_fingerprint,
    boot: firstBoot(boot, resetCount, site.now()),
  }
}

export function tokenRefused(): SiteError {
  return new SiteError('TOKEN_REFUSED', 'this token is unknown, used or expired', {
    remedy: 'Make a new one in the console, under Hosts or Endpoints.',
  })
}

/** What the database knows a token by. */
export function hashOfToken(token: string): Buffer {
  return hashOfSecret(parseToken(token).secret)
}

export function hashOfSecret(secret: Uint8Array): Buffer {
  return Buffer.from(secretHash(secret), 'base64url')
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest()
}

function bytesOf(text: string): Buffer {
  return Buffer.from(text, 'base64url')
}
