import { CodedError } from '#core/errors/coded-error.ts'

export type ReleaseErrorCode =
  /** The bytes are not what they must be: too long, not canonical, a field that is not known. */
  | 'RELEASE_MALFORMED'
  /** A name of an image or a version that cannot be one. */
  | 'RELEASE_BAD_NAME'
  /** A key that is not of a kind that TUF and Trustcast both know, or whose id is not its own. */
  | 'RELEASE_BAD_KEY'
  /** A threshold that the keys can never meet. */
  | 'RELEASE_BAD_THRESHOLD'
  /** A signature that its key did not make over these bytes. */
  | 'RELEASE_BAD_SIGNATURE'
  /** A signature by a key that the role does not name. */
  | 'RELEASE_UNKNOWN_KEY'
  /** Fewer signatures of the role's keys than its threshold. */
  | 'RELEASE_BELOW_THRESHOLD'
  /** Metadata that does not follow the version before it. */
  | 'RELEASE_VERSION_GAP'
  /** Metadata whose time is up. */
  | 'RELEASE_EXPIRED'
  /** A release whose counter does not follow the one before it, or a signed release that was changed. */
  | 'RELEASE_COUNTER'
  /** More releases of one image than one role may list. */
  | 'RELEASE_TOO_MANY'
  /** A version that was released already. */
  | 'RELEASE_EXISTS'
  /** No such image, or no such release of it. */
  | 'RELEASE_UNKNOWN'
  /** Nobody has said yet who signs. */
  | 'RELEASE_NO_ROOT'
  /** The root is not the one that was pinned. */
  | 'RELEASE_OTHER_ROOT'
  /** Something older than what was seen already. */
  | 'RELEASE_ROLLBACK'
  /** Metadata that does not fit together: another length, digest or version than the role above says. */
  | 'RELEASE_MISMATCH'
  /** Directed to something that the release keys did not sign. */
  | 'RELEASE_NOT_SIGNED'
  /** A direction that the site's director did not make for this endpoint. */
  | 'RELEASE_NOT_DIRECTED'
  /** A direction for another nonce, or one whose time is up. */
  | 'RELEASE_DIRECTION_STALE'

/** What is refused on the way from an image to its use. */
export class ReleaseError extends CodedError<ReleaseErrorCode> {
  protected static override readonly remedies: Readonly<Partial<Record<ReleaseErrorCode, string>>> = {
    RELEASE_MALFORMED: 'Nothing was used. Fetch it again; if it stays, tell whoever runs the site.',
    RELEASE_BAD_KEY: 'Use the public file that `trustcast key create` or `trustcast key show` wrote.',
  }
}
