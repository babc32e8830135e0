/** What a partial answer holds: from the first to the last byte, both included, of `size` if the server knows it. */
export interface ContentRange {
  readonly first: number
  readonly last: number
  readonly size: number | undefined
}

/**
 * RFC 9110 14.4: `bytes first-last/size` or `bytes first-last/*`.
 *
 * @returns undefined for anything else
 */
export function parseContentRange(text: string): ContentRange | undefined {
  const [, first, last, size] = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/i.exec(text) ?? []
  if (first === undefined) return undefined
  const range = { first: Number(first), last: Number(last), size: size === '*' ? undefined : Number(size) }
  const isValid = range.first <= range.last && (range.size === undefined || range.last < range.size)
  return isValid ? range : undefined
}
