/** One way in which a server lets itself be convinced. */
export interface Challenge {
  /** In lower case: `basic`, `bearer`. */
  readonly scheme: string
  /** Names in lower case. */
  readonly parameters: ReadonlyMap<string, string>
}

const maximumChars = 8192
const item = /[\s,]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+)))?/sy

/**
 * Parses the value of WWW-Authenticate, or several of them joined by commas. What does not belong to the grammar ends
 * the reading; what came before it counts.
 *
 * Spec: RFC 9110 11.6.1, RFC 6750 3
 *
 * @param text untrusted
 */
export function parseChallenges(text: string): readonly Challenge[] {
  const challenges: { scheme: string; parameters: Map<string, string> }[] = []
  const bounded = text.slice(0, maximumChars)
  item.lastIndex = 0
  for (let match = item.exec(bounded); match !== null; match = item.exec(bounded)) {
    const [, name = '', quoted, plain] = match
    const value = quoted === undefined ? plain : quoted.replaceAll(/\\(.)/gs, '$1')
    if (value === undefined) challenges.push({ scheme: name.toLowerCase(), parameters: new Map() })
    else challenges.at(-1)?.parameters.set(name.toLowerCase(), value)
  }
  return challenges
}
