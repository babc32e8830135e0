import { type SiteKeyName, siteKeyNames } from '#apps/site/site-keys.ts'
import { usage } from './cli-error.ts'
import type { Parsed } from './command.ts'

/** Which lost keys a site is to go on without. */
export const replaceLostOption = { 'replace-lost': { type: 'string', multiple: true } } as const

/** @throws {CliError} USAGE */
export function replaceLostOf(words: Parsed): readonly SiteKeyName[] {
  return words.list('replace-lost').map((word) => {
    const name = siteKeyNames.find((one) => one === word)
    if (name === undefined) throw usage(`--replace-lost takes one of ${siteKeyNames.join(', ')}`)
    return name
  })
}
