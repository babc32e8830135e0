/**
 * What an endpoint whose certificate has expired signs with the key of that certificate, and has quoted by its TPM where it has one: that
 * it asks its site for the next. Nothing else that is signed by this key begins so.
 *
 * @param said.nonce of the site, for this once
 */
export function renewalStatement(said: {
  readonly siteId: string
  readonly endpointId: string
  readonly nonce: string
}): Buffer {
  return Buffer.from(`trustcast renewal|${said.siteId}|${said.endpointId}|${said.nonce}`)
}
