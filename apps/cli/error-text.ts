import { isCoded } from '#core/errors/coded-error.ts'
import { printableLines } from './printable.ts'

/** `code: message`, and what to do about it on the next line. */
export function errorText(error: unknown): string {
  if (!isCoded(error)) return `${printableLines(String(error))}\n`
  const { code, message, remedy } = error
  return printableLines(`${code}: ${message}\n${remedy === undefined ? '' : `${remedy}\n`}`)
}

/** Tells of what went wrong without ending anything. */
export function warn(error: unknown): void {
  process.stderr.write(errorText(error))
}
