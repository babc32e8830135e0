import { createInterface } from 'node:readline/promises'
import { Writable } from 'node:stream'
import { usage } from './cli-error.ts'

/**
 * Asks the person on the terminal; without one, the next line of standard input is the answer.
 *
 * @param secret what is typed is not shown
 * @throws {CliError} USAGE when standard input has ended
 */
export async function ask(question: string, secret: boolean): Promise<string> {
  if (!process.stdin.isTTY) return nextLine()
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() })
  const lines = createInterface({
    input: process.stdin,
    output: secret ? silent : process.stderr,
    terminal: true,
  })
  try {
    if (secret) process.stderr.write(question)
    // readline clears its line first: a question that stood there already would be gone.
    return await lines.question(secret ? '' : question)
  } finally {
    lines.close()
    if (secret) process.stderr.write('\n')
  }
}

let piped: AsyncIterator<string> | undefined

async function nextLine(): Promise<string> {
  piped ??= createInterface({ input: process.stdin })[Symbol.asyncIterator]()
  const line = await piped.next()
  if (line.done === true) throw usage('expected a line on standard input')
  return line.value
}
