/** One line. Text of others could otherwise move the cursor over what a person is to read, or turn its direction. */
export function printable(text: string): string {
  return text.replaceAll(/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu, '?')
}

/** Every line of it. */
export function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n')
}

/** JSON, in one line and without a character that a terminal would obey. */
export function printableJson(value: unknown): string {
  return JSON.stringify(value).replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) =>
    character.split('').map(escaped).join(''),
  )
}

/** @param unit of UTF-16 */
function escaped(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
}
