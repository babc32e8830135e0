import { isNode, LineCounter, parseDocument } from 'yaml'
import type { z } from 'zod'
import { CodedError } from '#core/errors/coded-error.ts'

export type ConfigErrorCode = 'CONFIG_TOO_LONG' | 'CONFIG_NOT_YAML' | 'CONFIG_INVALID'
export class ConfigError extends CodedError<ConfigErrorCode> {}

const maxChars = 1_000_000

/**
 * Reads a YAML configuration against a schema. Every error names the line it is about.
 *
 * @param text the file's content, untrusted
 * @param fileName for messages only
 * @throws {ConfigError} CONFIG_TOO_LONG, CONFIG_NOT_YAML, CONFIG_INVALID
 */
export function parseConfig<T>(text: string, schema: z.ZodType<T>, fileName: string): T {
  if (text.length > maxChars) {
    throw new ConfigError(
      'CONFIG_TOO_LONG',
      `${fileName}: a configuration has at most ${maxChars} characters`,
    )
  }
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, stringKeys: true })
  const [problem] = [...document.errors, ...document.warnings]
  if (problem !== undefined) {
    const { line, col } = lines.linePos(problem.pos[0])
    const [message = ''] = problem.message.split('\n')
    throw new ConfigError('CONFIG_NOT_YAML', `${fileName}:${line}:${col}: ${message}`, {
      remedy: `Correct line ${line} of ${fileName}.`,
      cause: problem,
    })
  }
  const result = schema.safeParse(contentOf(document, fileName))
  if (result.success) return result.data
  const { issues } = result.error
  // A misspelled option is missing under its right name, too; the line where it stands is the one to correct.
  const issue = issues.find(({ code }) => code === 'unrecognized_keys') ?? issues[0]
  const path = issue?.path ?? []
  const { line, col } = lines.linePos(
    offsetOf(document, issue?.code === 'unrecognized_keys' ? [...path, ...issue.keys.slice(0, 1)] : path),
  )
  const where = path.length > 0 ? `${path.join('.')}: ` : ''
  throw new ConfigError(
    'CONFIG_INVALID',
    `${fileName}:${line}:${col}: ${where}${issue?.message ?? 'not valid'}`,
    {
      remedy: `Correct line ${line} of ${fileName}.`,
      cause: result.error,
    },
  )
}

type Document = ReturnType<typeof parseDocument>

function contentOf(document: Document, fileName: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 })
  } catch (cause) {
    throw new ConfigError('CONFIG_NOT_YAML', `${fileName}: aliases that refer to too much, or to nothing`, {
      cause,
    })
  }
}

/** Where the value at `path` stands; for what is missing, where its nearest parent stands. */
function offsetOf(document: Document, path: readonly PropertyKey[]): number {
  for (let depth = path.length; depth >= 0; depth--) {
    const node: unknown = depth === 0 ? document.contents : document.getIn(path.slice(0, depth), true)
    if (isNode(node) && node.range) return node.range[0]
  }
  return 0
}
