/**
 * What a machine that is enrolled again signs with the key that it had before, and has quoted by its TPM where that knew it: that it is
 * the same machine. Nothing else that is signed by this key begins so.
 *
 * @param said.formerId what it was
 * @param said.requestHash SHA-256 of the certificate request that it is enrolled with: nobody else can use it
 */
export function successionStatement(said: {
  readonly siteId: string
  readonly formerId: string
  readonly requestHash: Uint8Array
}): Buffer {
  const hash = Buffer.from(said.requestHash).toString('hex')
  return Buffer.from(`trustcast succession|${said.siteId}|${said.formerId}|${hash}`)
}
