import { BlobError } from '#core/blobs/index.ts'
import type { HttpAnswer } from './http-message.ts'

/** What Node says of a certificate that does not prove what it should. OpenSSL: X509_verify_cert_error_string. */
const untrusted =
  /^(CERT_|ERR_TLS_CERT|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|INVALID_CA|INVALID_PURPOSE|HOSTNAME_MISMATCH|PATH_LENGTH)/

const outOfTime = /^CERT_(HAS_EXPIRED|NOT_YET_VALID)$/

/** What went wrong on the way to a store and back. Whatever may pass by itself is BLOB_UNAVAILABLE. */
export function transportError(error: unknown, origin: string): BlobError {
  if (error instanceof BlobError) return error
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  // Of several addresses that were tried Node's message is empty.
  const text = error instanceof Error ? error.message : String(error)
  const message = `${origin}: ${text === '' ? code : text}`
  if (untrusted.test(code)) {
    return new BlobError('BLOB_BAD_STORE', message, {
      cause: error,
      remedy: outOfTime.test(code)
        ? 'Check the clock of this computer; if it is right, have the certificate of the store renewed.'
        : 'Name the certificate of the authority that this store is to be known by, and the store by a name that is in its certificate.',
    })
  }
  if (
    /^ERR_SSL_.*(CERTIFICATE_REQUIRED|ALERT_UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_UNKNOWN|ACCESS_DENIED)/.test(
      code,
    )
  ) {
    return new BlobError('BLOB_DENIED', message, {
      cause: error,
      remedy: 'Give a client certificate that this store trusts.',
    })
  }
  if (code.startsWith('ERR_SSL_') || code === 'EPROTO') {
    return new BlobError('BLOB_BAD_STORE', message, {
      cause: error,
      remedy: 'The store must speak TLS 1.3 at this address.',
    })
  }
  if (code.startsWith('HPE_')) return new BlobError('BLOB_WRONG_ANSWER', message, { cause: error })
  if (/^ERR_(HTTP|INVALID|UNESCAPED)/.test(code)) {
    return new BlobError('BLOB_BAD_STORE', message, { cause: error })
  }
  return new BlobError('BLOB_UNAVAILABLE', message, { cause: error })
}

/** What a status that was not hoped for means. */
export function statusError({ status, headers, body }: HttpAnswer, what: string): BlobError {
  const text = JSON.stringify(Buffer.from(body.subarray(0, 200)).toString('utf8'))
  const message = `${what}: got status ${status}${body.length === 0 ? '' : ` ${text}`}`
  if (status === 404 || status === 410) return new BlobError('BLOB_MISSING', `${what}: it is not there`)
  // nginx answers 400 to who shows no certificate, or one that it does not trust.
  const isCertificate = status === 400 && /SSL certificate/i.test(text)
  if (status === 401 || status === 403 || status === 407 || isCertificate) {
    return new BlobError('BLOB_DENIED', message)
  }
  if (status === 413) {
    return new BlobError('BLOB_BAD_STORE', `${what}: larger than is taken there (status 413)`, {
      remedy:
        'Let whatever stands before the registry take bodies of any size: client_max_body_size 0 in nginx.',
    })
  }
  if (status === 416) return new BlobError('BLOB_WRONG_ANSWER', `${what}: the blob is shorter than expected`)
  if (status === 507) return new BlobError('BLOB_NO_SPACE', message)
  if (status === 408 || status === 425 || status === 429 || (status >= 500 && status !== 501)) {
    return new BlobError('BLOB_UNAVAILABLE', message)
  }
  if (status === 200) {
    return new BlobError('BLOB_BAD_STORE', `${what}: expected a part, got the whole blob`, {
      remedy: 'Let the web server answer range requests (RFC 9110 section 14), or use another store.',
    })
  }
  if (status >= 300 && status < 400) {
    const target = JSON.stringify(headers['location']?.slice(0, 200) ?? '')
    return new BlobError('BLOB_BAD_STORE', `${what}: got a redirect to ${target}, which is not followed`, {
      remedy: 'Name the address that it leads to.',
    })
  }
  return new BlobError('BLOB_WRONG_ANSWER', message)
}
