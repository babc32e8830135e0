/** The line that an error message names, such as `line 12`, or undefined. */
export function lineOf(message: string): number | undefined {
  const found = /\bline (\d{1,6})\b/i.exec(message)?.[1]
  return found === undefined ? undefined : Number(found)
}
