/** A command as its form shows it: an argument may have spaces, so each has a line. */
export function linesOf(command: readonly string[]): string {
  return command.join('\n')
}

/** @param before what the form showed: it is sent as it was when nobody touched it */
export function commandOf(lines: string, before: readonly string[]): string[] {
  const text = lines.replaceAll('\r\n', '\n')
  if (text === linesOf(before)) return [...before]
  return text.split('\n').filter((line) => line.trim() !== '')
}
