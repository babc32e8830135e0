import { isCoded } from '#core/errors/coded-error.ts'

/** `code: message`, and what to do about it on the next line. */
export function errorText(error: unknown): string {
  if (!isCoded(error)) return `${String(error)}\n`
  const { code, message, remedy } = error
  return `${code}: ${message}\n${remedy === undefined ? '' : `${remedy}\n`}`
}

/** Tells of what went wrong without ending anything. */
export function warn(error: unknown): void {
  process.stderr.write(errorText(error))
}
