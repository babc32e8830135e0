import { z } from 'zod'

/**
 * Text in which programs and files of people had their part, without what neither the audit log nor the database takes: halves of
 * characters, left where a log was cut, and control characters. Line breaks stay.
 */
export function sayable(text: string): string {
  return text.toWellFormed().replaceAll(/[^\P{Cc}\n]/gu, ' ')
}

/** INVARIANT: every text that the site keeps of what an agent says is one of these, so that none is refused for how it reads. */
export function agentText(longest: number): z.ZodString {
  return z.string().max(longest).overwrite(sayable)
}
