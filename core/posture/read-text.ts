import { z } from 'zod'

/** What programs and files say is cut off here: nothing that is judged is longer. */
export const maxTextChars: number = 4 * 1024 * 1024

/** @returns lines without their ends, of at most `maxTextChars` */
export function linesOf(text: string): readonly string[] {
  return text.slice(0, maxTextChars).split(/\r?\n/)
}

/**
 * Reads `KEY=value` lines as systemd, os-release(5) and loginctl write them, values perhaps in quotes. The last of a name counts.
 */
export function parseProperties(text: string): ReadonlyMap<string, string> {
  const entries = linesOf(text).flatMap((line): [string, string][] => {
    const at = line.indexOf('=')
    if (at < 1 || line.startsWith('#')) return []
    return [[line.slice(0, at).trim(), unquoted(line.slice(at + 1).trim())]]
  })
  return new Map(entries)
}

/** @returns what the JSON says in the schema's shape; undefined for anything else, and for what is too long */
export function parseJson<T>(text: string, schema: z.ZodType<T>): T | undefined {
  if (text.length > maxTextChars) return undefined
  try {
    const { data } = schema.safeParse(JSON.parse(text.replace(/^\uFEFF/, '')))
    return data
  } catch {
    return undefined
  }
}

/** PowerShell writes an array of one element as that element, and none as nothing. */
export function oneOrMore<T>(schema: z.ZodType<T>): z.ZodType<readonly T[]> {
  return z.union([z.array(schema).max(10_000), schema.transform((one) => [one])])
}

function unquoted(text: string): string {
  const quote = text[0]
  const isQuoted = (quote === '"' || quote === "'") && text.length > 1 && text.endsWith(quote)
  return isQuoted ? text.slice(1, -1) : text
}
