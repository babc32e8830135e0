import { homedir } from 'node:os'
import { join } from 'node:path'
import type { ParseArgsOptionsConfig } from 'node:util'
import type { StoreOptions } from '#apps/images/open-store.ts'
import { BlobError } from '#core/blobs/index.ts'
import { usage } from '../../cli-error.ts'
import type { Parsed } from '../../command.ts'
import { warn } from '../../error-text.ts'
import { readCertificates } from '../../read-text.ts'

/** What every command that reads or writes a store takes. */
export const storeWords: ParseArgsOptionsConfig = {
  store: { type: 'string' },
  'store-ca': { type: 'string' },
}

export const storeSynopsis = '[--store FOLDER|URL] [--store-ca FILE]'

/** `--store`, else `$TRUSTCAST_STORE`, else a folder of this account. */
export function storeAddress(words: Parsed): string {
  return words.text('store') ?? process.env['TRUSTCAST_STORE'] ?? ownStore()
}

/** The folder of this account; the first import makes it. */
export function ownStore(): string {
  return join(process.env['XDG_DATA_HOME'] ?? join(homedir(), '.local', 'share'), 'trustcast', 'images')
}

/**
 * The password of a registry comes from the environment only: `$TRUSTCAST_STORE_LOGIN` is `user:password@host[:port]`. No
 * other host is shown it, whatever store is named.
 *
 * @throws {CliError} USAGE, CLI_FILE_MISSING, CLI_NO_CERTIFICATE
 */
export async function storeOptions(words: Parsed): Promise<StoreOptions> {
  const ca = words.text('store-ca')
  const login = process.env['TRUSTCAST_STORE_LOGIN']
  return {
    ...(ca !== undefined && { ca: await readCertificates(ca) }),
    ...(login !== undefined && { credentials: parseLogin(login) }),
    onAway: ({ code, message, cause }) =>
      warn(new BlobError(code, message, { cause, remedy: 'It is asked again, for one to two minutes.' })),
  }
}

/** Users have no colon, hosts no @; passwords may have both. */
function parseLogin(login: string): NonNullable<StoreOptions['credentials']> {
  const { user, password, host } =
    /^(?<user>[^:]+):(?<password>.*)@(?<host>[^@]+)$/s.exec(login)?.groups ?? {}
  const url = host !== undefined && /^[\w.:[\]-]+$/.test(host) ? URL.parse(`https://${host}`) : null
  if (user === undefined || password === undefined || url === null)
    throw usage('TRUSTCAST_STORE_LOGIN is user:password@host[:port]')
  return { user, password, host: url.host }
}

const units: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 }

/** `512M`, `2G`: bytes. @throws {CliError} USAGE */
export function parseSize(text: string, what: string): number {
  const [, digits = '', unit = ''] = /^(\d{1,12})([KMGT]?)i?B?$/.exec(text) ?? []
  const bytes = Number(digits) * (units[unit] ?? Number.NaN)
  if (digits === '' || !Number.isSafeInteger(bytes)) throw usage(`${what} is a size such as 512M or 2G`)
  return bytes
}

/** Bytes a second of `--background-rate`. @throws {CliError} USAGE */
export function backgroundRate(words: Parsed): number | undefined {
  const text = words.text('background-rate')
  if (text === undefined) return undefined
  const bytes = parseSize(text, '--background-rate')
  if (bytes === 0) throw usage('--background-rate is more than nothing, such as 2M')
  return bytes
}

/** `1.4 GiB`: as people read it. */
export function sizeText(bytes: number): string {
  const names = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  const power = Math.min(names.length - 1, bytes < 1 ? 0 : Math.floor(Math.log2(bytes) / 10))
  const value = bytes / 1024 ** power
  return `${power === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${names[power]}`
}
