import { X509Certificate } from 'node:crypto'
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

/**
 * Reads certificates (PEM) that the person named.
 *
 * @throws {CliError} CLI_FILE_MISSING, CLI_NO_CERTIFICATE
 */
export async function readCertificates(file: string): Promise<string> {
  const text = await readText(file)
  try {
    void new X509Certificate(text)
    return text
  } catch (cause) {
    throw new CliError('CLI_NO_CERTIFICATE', `${file} holds no certificate`, { cause })
  }
}
