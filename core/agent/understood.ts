/**
 * Words that came into an agent's protocol later. A node says them only to agents that understand them: the others would refuse the whole
 * message. What an agent understands stands behind a `+` of the version in its hello, which every site takes (`docs/decisions/0026`).
 */
type LaterWord = 'discard'

/** @param version of the program */
export function versionInHello(version: string): string {
  return `${version}+${'discard' satisfies LaterWord}`
}

/** @param version as its hello has it */
export function understands(version: string, word: LaterWord): boolean {
  return version.split('+').slice(1).includes(word)
}
