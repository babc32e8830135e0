/** Far beyond what a person writes, far below what exhausts Cedar. */
export const maxNesting = 40

/**
 * Finds where a policy text nests deeper than Cedar is asked to follow.
 *
 * Cedar parses and evaluates by recursion, and when its stack ends (from some 100 nested brackets on) its WebAssembly
 * instance is broken for good: one bad draft would end every later decision. A policy's JSON form may nest 128 deep.
 * Counted are open brackets and, in each of them, what chains to the left: `&&`, `||`, and in each of their
 * operands `.`, arithmetic and `if`.
 *
 * @returns the index of the first character that is too deep
 */
export function findTooDeep(text: string): number | undefined {
  const outer: Level[] = []
  let level: Level = { operators: 0, operand: 0 }
  let depth = 0
  for (const { 0: token, index } of text.matchAll(tokens)) {
    if ('([{'.includes(token)) {
      outer.push(level)
      depth += 1 + level.operators + level.operand
      level = { operators: 0, operand: 0 }
    } else if (')]}'.includes(token)) {
      level = outer.pop() ?? { operators: 0, operand: 0 }
      depth = Math.max(0, depth - 1 - level.operators - level.operand)
    } else if (token === ',' || token === ';') level = { operators: 0, operand: 0 }
    else if (token === '&&' || token === '||') level = { operators: level.operators + 1, operand: 0 }
    else if (token === 'if' || '.+-*'.includes(token)) level = { ...level, operand: level.operand + 1 }
    if (depth + level.operators + level.operand > maxNesting) return index
  }
  return undefined
}

/** What has chained up since the innermost open bracket, or since a comma in it. */
interface Level {
  readonly operators: number
  readonly operand: number
}

/**
 * Strings and comments are tokens, so that what stands in them does not count. A string that does not end is one, too:
 * else each quote in it would be read to the end again, and Cedar refuses it there.
 */
const tokens = /"(?:[^"\\]|\\.)*"?|\/\/[^\n]*|[([{}\])]|&&|\|\||[,;.+*-]|\bif\b/g
