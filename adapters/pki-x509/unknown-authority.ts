/** What OpenSSL calls a chain that leads to no authority which was to be trusted; a chain that has expired leads to one. */
const codes: ReadonlySet<unknown> = new Set([
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'CERT_SIGNATURE_FAILURE',
])

/** @returns true for the error of a connection whose other end showed a certificate of an authority that is not trusted for it */
export function isUnknownAuthority(error: unknown): boolean {
  return error instanceof Error && 'code' in error && codes.has(error.code)
}

/** @returns why a connection failed, in words: a message of OpenSSL's is a line of numbers and its source, what it calls the reason is not */
export function whyUnreachable(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return 'reason' in error && typeof error.reason === 'string' ? error.reason : error.message
}
