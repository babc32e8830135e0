/** Entries of the sizes that chunks have, of which every one is different. */
export const entryBytes = 40_000

export function nameOf(number: number): string {
  return number.toString(16).padStart(64, '0')
}

export function contentOf(number: number): Buffer {
  return Buffer.alloc(entryBytes, `${number} is what this entry consists of, `)
}
