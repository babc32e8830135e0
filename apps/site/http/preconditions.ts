import { createHash } from 'node:crypto'
import { z } from 'zod'
import type { Basis } from '#adapters/store-postgres/index.ts'
import { changedMeanwhile } from '../people/administering.ts'
import { SiteError } from '../site-error.ts'

/**
 * What a change may be based on, so that two admins do not undo each other without a word. Who says neither replaces whatever is there.
 *
 * Spec: RFC 9110 section 13.1; the answer is CONFLICT (409), which says what to do.
 */
export const preconditions = z.looseObject({
  /** `ETag` of what was seen before it was changed. */
  'if-match': z.string().max(100).optional(),
  /** There must not be one yet. */
  'if-none-match': z.literal('*').optional(),
})

/** Tells one state of a thing from every other. @param thing as the API shows it */
export function entityTag(thing: unknown): string {
  return `"${digestOf(thing)}"`
}

/**
 * @param what in the words of whoever reads the refusal: `the policy`
 * @param current as it is now; undefined when there is none
 * @param shown as the API shows it
 * @returns what the write compares once more with what is there then; undefined when it may replace whatever is there
 * @throws {SiteError} CONFLICT
 */
export function requireBasis<T extends object>(
  headers: z.infer<typeof preconditions>,
  what: string,
  current: T | undefined,
  shown: (current: T) => object = (same) => same,
): Basis<T> | undefined {
  if (headers['if-none-match'] !== undefined && current !== undefined) {
    throw new SiteError('CONFLICT', `${what} exists already`, {
      remedy: 'Choose another identifier.',
      field: 'id',
    })
  }
  const seen = headers['if-match']
  // Within it: a proxy that compresses makes W/"…" or "…-gzip" of a tag.
  const isSame = current !== undefined && (seen === '*' || seen?.includes(digestOf(shown(current))))
  if (seen !== undefined && isSame !== true) throw changedMeanwhile(what)
  const isAny = seen === '*' || (seen === undefined && headers['if-none-match'] === undefined)
  return isAny ? undefined : { was: current }
}

function digestOf(thing: unknown): string {
  return createHash('sha256').update(JSON.stringify(thing)).digest('base64url')
}
