/** What a `CodedError` may carry beside its message. */
export interface CodedErrorOptions {
  /** One sentence that says what to do now. Shown to the person under the message. */
  readonly remedy?: string
  readonly cause?: unknown
}

/**
 * An error whose literal `code` is the API and whose message is prose.
 * Each module has one subclass with its own union of codes.
 */
export abstract class CodedError<Code extends string = string> extends Error {
  /** What to do about a code, when whoever throws it knows nothing better. */
  protected static readonly remedies: Readonly<Partial<Record<string, string>>> = {}

  readonly code: Code
  readonly remedy: string | undefined

  constructor(code: Code, message: string, options: CodedErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.remedy = options.remedy ?? new.target.remedies[code]
    this.name = new.target.name
  }
}

/** True for an error with a code of ours, false for anything broken. */
export function isCoded(error: unknown): error is CodedError {
  return error instanceof CodedError
}
