import { CodedError, type CodedErrorOptions } from '#core/errors/coded-error.ts'

export type PolicyErrorCode =
  | 'POLICY_TOO_LARGE'
  | 'POLICY_TOO_DEEP'
  | 'POLICY_SYNTAX'
  | 'POLICY_INVALID'
  | 'POLICY_ID'
  | 'POLICY_ANNOTATION'
  | 'POLICY_CONTEXT'
  | 'POLICY_NUMBER'

/** The first problem of a policy text and where it is. */
export class PolicyError extends CodedError<PolicyErrorCode> {
  /** From 1. */
  readonly line: number
  /** From 1, in characters. */
  readonly column: number
  /** The message without the position. */
  readonly problem: string

  constructor(
    code: PolicyErrorCode,
    problem: string,
    at: Position,
    options: CodedErrorOptions & { readonly remedy: string },
  ) {
    super(code, `line ${at.line}, column ${at.column}: ${problem}`, options)
    this.line = at.line
    this.column = at.column
    this.problem = problem
  }
}

export interface Position {
  readonly line: number
  readonly column: number
}

/** @returns the position of a character of a text */
export function positionOf(text: string, index: number): Position {
  const before = text.slice(0, index)
  return { line: before.split('\n').length, column: before.length - before.lastIndexOf('\n') }
}

/** @returns the position of a byte of the UTF-8 form of what begins at `from`, which is how Cedar counts */
export function positionOfByte(text: string, from: number, byte: number): Position {
  const before = new TextEncoder().encode(text.slice(from)).subarray(0, byte)
  return positionOf(text, from + new TextDecoder().decode(before).length)
}
