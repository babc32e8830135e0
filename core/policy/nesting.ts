/** Far beyond what a person writes, far below what exhausts Cedar. */
export const maxNesting = 32

/**
 * Finds where a policy text nests deeper than Cedar is asked to follow.
 *
 * Cedar parses and evaluates by recursion, and when its stack ends (from some 100 nested brackets on) its WebAssembly
 * instance is broken for good: one bad draft would end every later decision. Counted are open brackets and, in each
 * of them, what chains to the left: `.`, arithmetic and `if`; `&&` and `||` chain without recursion.
 *
 * @returns the index of the first character that is too deep
 */
export function findTooDeep(text: string): number | undefined {
  // One entry for each open bracket: the chain inside it, and the bracket itself.
  const chains = [0]
  let depth = 0
  for (const { 0: token, index } of text.matchAll(tokens)) {
    if ('([{'.includes(token)) {
      chains.push(1)
      depth += 1
    } else if (')]}'.includes(token)) depth -= chains.length > 1 ? (chains.pop() ?? 0) : 0
    else if (token === '.' || token === 'if' || '+-*'.includes(token)) {
      chains.push((chains.pop() ?? 0) + 1)
      depth += 1
    } else if (separators.has(token)) {
      const bracket = chains.length > 1 ? 1 : 0
      depth -= (chains.pop() ?? 0) - bracket
      chains.push(bracket)
    }
    if (depth > maxNesting) return index
  }
  return undefined
}

/** Strings and comments are tokens, so that what stands in them does not count. */
const tokens = /"(?:[^"\\]|\\.)*"|\/\/[^\n]*|[([{}\])]|&&|\|\||[,;.+*-]|\bif\b/g
const separators = new Set(['&&', '||', ',', ';'])
