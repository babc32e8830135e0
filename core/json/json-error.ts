import { CodedError } from '#core/errors/coded-error.ts'

export type JsonErrorCode =
  /** More bytes than may be read. */
  | 'JSON_TOO_LONG'
  /** No JSON in UTF-8. */
  | 'JSON_MALFORMED'
  /** Another value than expected, at `path`. */
  | 'JSON_UNEXPECTED'

export class JsonError extends CodedError<JsonErrorCode> {
  /** What was expected, and what came. */
  readonly reason: string
  /** Where in the whole value: names of members, and places in lists from 0. */
  readonly path: readonly (string | number)[]

  constructor(code: JsonErrorCode, reason: string, path: readonly (string | number)[] = [], cause?: unknown) {
    // Names come from whoever sent the value.
    const place = path.map((part) => String(part).slice(0, 100)).join('.')
    super(code, path.length === 0 ? reason : `${place}: ${reason}`, { cause })
    this.reason = reason
    this.path = path
  }

  /** The same, said of what holds the value. */
  within(place: string | number): JsonError {
    return new JsonError(this.code, this.reason, [place, ...this.path], this.cause)
  }
}
