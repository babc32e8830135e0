import { createHash } from 'node:crypto'

/** What a TPM quotes at an enrolment or renewal: the certificate request as it is sent. SHA-256, 32 bytes. */
export function requestHash(request: string): Buffer {
  return createHash('sha256').update(request).digest()
}
