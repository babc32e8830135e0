import { contains, parseAddress, parseNetwork } from '#core/trust/address.ts'
import { BlobError } from './errors.ts'

/** Where a store is, as `--store` says it. */
export type StoreAddress =
  /** An OCI image layout in a folder. */
  | { readonly kind: 'directory'; readonly path: string }
  /** An OCI image layout behind a web server. `url` ends with `/`. */
  | { readonly kind: 'http'; readonly url: string }
  /** An OCI registry. `url` is its origin; image `name` is the repository `prefix/name`, or `name` without prefix. */
  | { readonly kind: 'registry'; readonly url: string; readonly prefix: string }

const maximumChars = 4096
const schemes: Readonly<Record<string, string>> = {
  'http:': 'http:',
  'https:': 'https:',
  'oci:': 'https:',
  'oci+http:': 'http:',
}
/** OCI distribution "Pulling manifests": names of repositories, 255 characters at most with all their parts. */
const repository = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/
const loopback = [parseNetwork('127.0.0.0/8'), parseNetwork('::1/128')]

/**
 * | written                        | means                                      |
 * |--------------------------------|--------------------------------------------|
 * | `/srv/images`, `images`        | a folder                                   |
 * | `https://host[:port]/path`     | a folder behind a web server, only to read |
 * | `oci://host[:port][/prefix]`   | a registry                                 |
 * | `http://…`, `oci+http://…`     | the same without TLS, on loopback only     |
 *
 * @throws {BlobError} BLOB_BAD_STORE
 */
export function parseStoreAddress(text: string): StoreAddress {
  if (text === '' || text.length > maximumChars || text.includes('\0')) {
    throw badStore('expected a folder or the address of a store', text.slice(0, 100))
  }
  const [, scheme = '', rest = ''] = /^([A-Za-z][A-Za-z0-9+.-]*:)(\/\/.*)$/s.exec(text) ?? []
  if (scheme === '') return { kind: 'directory', path: text }
  const transport = Object.hasOwn(schemes, scheme) ? schemes[scheme] : undefined
  if (transport === undefined) throw badStore('expected https://, oci:// or a folder', scheme)
  const url = URL.canParse(transport + rest) ? new URL(transport + rest) : undefined
  if (url === undefined) throw badStore('expected a complete address', text.slice(0, 100))
  // First of all, so that no later message repeats a password.
  if (url.username !== '' || url.password !== '') {
    throw badStore('expected an address without user name and password', `${scheme}//…@${url.host}`)
  }
  requireConfidential(url)
  if (url.search !== '' || url.hash !== '') {
    throw badStore('expected an address without query and fragment', url.href)
  }
  if (scheme.startsWith('http'))
    return { kind: 'http', url: url.href.endsWith('/') ? url.href : `${url.href}/` }
  return { kind: 'registry', url: url.origin, prefix: parsePrefix(url.pathname) }
}

/** Whether what is said to this address stays secret: TLS, or no other machine hears it. */
export function isConfidential(url: URL): boolean {
  return url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url.hostname))
}

/**
 * INVARIANT I2: no plaintext between two machines.
 *
 * @throws {BlobError} BLOB_BAD_STORE
 */
export function requireConfidential(url: URL): void {
  if (isConfidential(url)) return
  throw new BlobError(
    'BLOB_BAD_STORE',
    `${url.protocol}//${url.host} would be spoken to without encryption`,
    {
      remedy: 'Use https:// or oci://. Without TLS only this machine itself may be named, such as 127.0.0.1.',
    },
  )
}

/** RFC 6761 6.3: `localhost` is never another machine. */
function isLoopback(hostname: string): boolean {
  if (hostname === 'localhost') return true
  try {
    const address = parseAddress(hostname.replace(/^\[(.*)\]$/, '$1'))
    return loopback.some((network) => contains(network, address))
  } catch {
    return false
  }
}

function parsePrefix(pathname: string): string {
  const prefix = pathname.replace(/^\//, '').replace(/\/$/, '')
  // 129 characters stay for the image's own name.
  if (prefix === '' || (prefix.length <= 126 && repository.test(prefix))) return prefix
  throw badStore('expected the name of a repository after the host', prefix.slice(0, 200))
}

function badStore(expected: string, got: string): BlobError {
  return new BlobError('BLOB_BAD_STORE', `${expected}, got ${JSON.stringify(got)}`, {
    remedy: 'Name a folder, https://host/path of a web server, or oci://host/prefix of a registry.',
  })
}
