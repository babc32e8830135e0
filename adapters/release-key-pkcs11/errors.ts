import { CodedError } from '#core/errors/coded-error.ts'

export type TokenErrorCode =
  /** `pkcs11-tool` is not installed. */
  | 'TOKEN_TOOL_MISSING'
  /** The module cannot be loaded, or there is no token in it. */
  | 'TOKEN_MISSING'
  /** No key on the token fits. */
  | 'TOKEN_KEY_MISSING'
  /** A key of a kind that cannot sign releases. */
  | 'TOKEN_KEY_UNSUPPORTED'
  /** The PIN is wrong. */
  | 'TOKEN_WRONG_PIN'
  /** The token takes no more PINs. */
  | 'TOKEN_LOCKED'
  /** The token did not do what it was asked for. */
  | 'TOKEN_FAILED'

/** What a token, or the way to it, refused. */
export class TokenError extends CodedError<TokenErrorCode> {}
