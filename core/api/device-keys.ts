import { z } from 'zod'
import { attestation } from '#core/tpm/attestation.ts'
import { bytes32, instant, slug, uuid } from './words.ts'

/** How endpoints prove which machine they are, and what admins see and say of that. Byte strings are base64url. */

const bytes = (most: number) =>
  z
    .string()
    .regex(/^[A-Za-z0-9_-]+$/)
    .max(Math.ceil((most * 4) / 3))

/** First round: what the machine's TPM says that it is. */
export const tpmChallengeRequest = z.strictObject({
  token: z.string().max(300),
  /** The certificate request that will be enrolled. */
  request: z.string().max(10_000),
  /** X.509, DER, from the TPM's maker. */
  ekCertificate: bytes(8192),
  /** TPMT_PUBLIC of the endorsement key. */
  ekPublic: bytes(1024),
  /** TPMT_PUBLIC of the attestation key. */
  akPublic: bytes(1024),
})
export const tpmChallengeAnswer = z.strictObject({
  challenge: uuid,
  /** TPM2B_ID_OBJECT, then TPM2B_ENCRYPTED_SECRET. */
  credential: bytes(2048),
})

/** A log may be larger than what a stranger can send; the endpoint's first evidence brings it. */
export const quoteWithoutLog = attestation.omit({ eventLog: true })

/** Second round: what only this TPM could find out, and a quote over the certificate request. */
export const tpmActivation = z.strictObject({
  challenge: uuid,
  secret: bytes32,
  attestation: quoteWithoutLog,
})
export type TpmActivation = z.infer<typeof tpmActivation>

/** An endpoint whose certificate has ended asks for the number over which it proves its key: `apps/site/endpoints/coming-back.ts`. */
export const renewalNonceRequest = z.strictObject({ endpointId: uuid })
export const renewalNonceAnswer = z.strictObject({ nonce: bytes(64) })

/** Then it brings that number, signed by the key of its last certificate, and quoted by its TPM where it has one. */
export const renewalRequest = z.strictObject({
  endpointId: uuid,
  nonce: bytes(64),
  /** ECDSA with SHA-256, DER. */
  signature: bytes(80),
  attestation: quoteWithoutLog.optional(),
})

/**
 * What a machine that is enrolled again was before, and its proof. Without one it is enrolled as well, and is told nothing of what that was to
 * discard: `apps/site/endpoints/succession.ts`.
 */
export const formerIdentity = z.strictObject({
  /** PEM chain: leaf, intermediate. */
  certificate: z.string().max(20_000),
  /** ECDSA with SHA-256, DER, by its key over the statement. */
  signature: bytes(80),
  /** By the TPM that it was known by, over the statement's SHA-256. */
  attestation: quoteWithoutLog.optional(),
})
export type FormerIdentity = z.infer<typeof formerIdentity>

/** A machine that has no token asks an admin to let it in. */
export const enrolmentRequestCreate = z.strictObject({
  /** 32 random bytes that become its token when it is approved. */
  secret: bytes32,
  /** What it calls itself. */
  name: slug,
})
export const enrolmentRequestMade = z.strictObject({
  /** For the person at the machine to read to the admin. */
  code: z.string(),
  expiresAt: instant,
})
export const enrolmentRequestState = z.strictObject({ state: z.enum(['waiting', 'approved', 'refused']) })

export const enrolmentRequestView = z.strictObject({
  id: uuid,
  code: z.string(),
  name: z.string(),
  /** As the site saw it. */
  address: z.string(),
  requestedAt: instant,
  expiresAt: instant,
})
export type EnrolmentRequestView = z.infer<typeof enrolmentRequestView>

export const enrolmentApproval = z.strictObject({
  name: slug,
  group: slug.optional(),
  /** Login of the person whose endpoint it becomes. */
  owner: z.string().max(64).optional(),
})

/** What an endpoint booted. */
export const bootView = z.strictObject({
  /** Names this boot: what an admin accepts is what they were shown. */
  id: z.string(),
  state: z.enum(['expected', 'changed']),
  secureBoot: z.enum(['on', 'off', 'unknown']),
  /** For people; empty when it is the expected one. */
  difference: z.array(z.string()),
  since: instant,
})
export type BootView = z.infer<typeof bootView>

export const bootAcceptance = z.strictObject({ id: z.string().max(64) })
/** Login of a person, or nobody. */
export const ownerChange = z.strictObject({ owner: z.string().max(64).nullable() })
