/** A cipher suite of TLS 1.3 by what Node calls its parts. Spec: RFC 8446, appendix B.4. */
export interface CipherSuite {
  readonly cipher: 'aes-128-gcm' | 'aes-256-gcm' | 'chacha20-poly1305'
  readonly keyBytes: 16 | 32
  readonly hash: 'sha256' | 'sha384'
}

const suites: ReadonlyMap<string, CipherSuite> = new Map([
  ['TLS_AES_128_GCM_SHA256', { cipher: 'aes-128-gcm', keyBytes: 16, hash: 'sha256' }],
  ['TLS_AES_256_GCM_SHA384', { cipher: 'aes-256-gcm', keyBytes: 32, hash: 'sha384' }],
  ['TLS_CHACHA20_POLY1305_SHA256', { cipher: 'chacha20-poly1305', keyBytes: 32, hash: 'sha256' }],
])

/** @param name as IANA writes it; undefined for another than the three that every TLS library has */
export function cipherSuite(name: string): CipherSuite | undefined {
  return suites.get(name)
}
