import { webcrypto } from 'node:crypto'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import type { Credentials, SiteAddress } from '#apps/site-client/call.ts'
import { proofKey } from '#core/api/person.ts'
import { CliError } from './cli-error.ts'

const loginFile = z.strictObject({
  url: z.url(),
  ca: z.string().optional(),
  cookie: z.string(),
  key: proofKey.extend({ d: z.string() }),
})

export interface Login {
  readonly site: SiteAddress
  readonly credentials: Credentials
}

const algorithm = { name: 'ECDSA', namedCurve: 'P-256' } as const

/** `$TRUSTCAST_LOGIN`, else in the person's configuration folder; readable by them alone. */
function loginPath(): string {
  return (
    process.env['TRUSTCAST_LOGIN'] ??
    join(process.env['XDG_CONFIG_HOME'] ?? join(homedir(), '.config'), 'trustcast', 'login.json')
  )
}

/** A folder of this account for what it keeps of one site. Named by the address: what a site calls itself may change. */
export function siteFolder({ url }: SiteAddress): string {
  return join(dirname(loginPath()), 'releases', encodeURIComponent(new URL(url).host))
}

export async function createLoginKey(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
}

export async function writeLogin(
  site: SiteAddress,
  cookie: string,
  keyPair: webcrypto.CryptoKeyPair,
): Promise<void> {
  const { kty, crv, x, y, d } = await webcrypto.subtle.exportKey('jwk', keyPair.privateKey)
  const path = loginPath()
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const content = loginFile.parse({
    url: site.url,
    ...(site.ca === undefined ? {} : { ca: site.ca }),
    cookie,
    key: { kty, crv, x, y, d },
  })
  await writeFile(`${path}.partial`, JSON.stringify(content), { mode: 0o600 })
  await rename(`${path}.partial`, path)
}

/** @throws {CliError} CLI_NOT_SIGNED_IN */
export async function readLogin(): Promise<Login> {
  let text: string
  try {
    text = await readFile(loginPath(), 'utf8')
  } catch (cause) {
    throw new CliError('CLI_NOT_SIGNED_IN', 'you are not signed in', {
      remedy: 'Run: trustcast login https://…',
      cause,
    })
  }
  const { url, ca, cookie, key } = parseLogin(text)
  const { d: _, ...publicKey } = key
  return {
    site: { url, ca },
    credentials: {
      cookie,
      keyPair: {
        privateKey: await webcrypto.subtle.importKey('jwk', key, algorithm, false, ['sign']),
        publicKey: await webcrypto.subtle.importKey('jwk', publicKey, algorithm, true, ['verify']),
      },
    },
  }
}

function parseLogin(text: string): z.infer<typeof loginFile> {
  try {
    return loginFile.parse(JSON.parse(text))
  } catch (cause) {
    throw new CliError('CLI_NOT_SIGNED_IN', `${loginPath()} holds no sign-in that this version knows`, {
      remedy: 'Run: trustcast login https://…',
      cause,
    })
  }
}

export async function forgetLogin(): Promise<void> {
  await rm(loginPath(), { force: true })
}
