import { usage } from './cli-error.ts'

/**
 * The origin of the site that the person named.
 *
 * @throws {CliError} USAGE
 */
export function siteUrl(text: string): string {
  if (!URL.canParse(text) || !text.startsWith('https://'))
    throw usage(`expected an address like https://site:8443, got ${JSON.stringify(text)}`)
  return new URL(text).origin
}
