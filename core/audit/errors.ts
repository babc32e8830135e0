import { CodedError } from '#core/errors/coded-error.ts'

export type AuditErrorCode =
  | 'AUDIT_BAD_BUNDLE'
  | 'AUDIT_BAD_CHECKPOINT'
  | 'AUDIT_BAD_COMMIT'
  | 'AUDIT_BAD_ENTRY'
  | 'AUDIT_BAD_FRONTIER'
  | 'AUDIT_BAD_KEY'
  | 'AUDIT_BAD_NOTE'
  | 'AUDIT_BAD_PROOF'
  | 'AUDIT_BAD_RANGE'
  | 'AUDIT_BAD_SIGNATURE'
  | 'AUDIT_NOT_INCLUDED'

/** What the audit log refuses: bytes that are not in its formats, or a signature that is not the log's. */
export class AuditError extends CodedError<AuditErrorCode> {
  protected static override readonly remedies: Readonly<Partial<Record<AuditErrorCode, string>>> = {
    AUDIT_BAD_KEY: 'Copy the whole line that the site’s admins gave you.',
    AUDIT_BAD_PROOF: 'Name a file that `trustcast audit proof` or the console wrote.',
  }
}
