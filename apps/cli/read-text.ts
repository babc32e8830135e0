import { readFile } from 'node:fs/promises'
import { CliError } from './cli-error.ts'

/**
 * Reads a file that the person named.
 *
 * @throws {CliError} CLI_FILE_MISSING
 */
export async function readText(file: string): Promise<string> {
  return readFile(file, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw new CliError('CLI_FILE_MISSING', `${file} cannot be read: ${cause.message}`, { cause })
  })
}
