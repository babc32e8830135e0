import { createHash, X509Certificate } from 'node:crypto'
import { request } from 'node:https'
import { z } from 'zod'
import { away, call, callJson, connectTo, type SiteAddress, SiteAwayError } from '#apps/site-client/call.ts'
import { exportProofKey } from '#core/identity/proof.ts'
import { ask } from '../ask.ts'
import { CliError } from '../cli-error.ts'
import { type Command, type Output, parse } from '../command.ts'
import { createLoginKey, forgetLogin, readLogin, writeLogin } from '../login-file.ts'
import { readCertificates } from '../read-text.ts'
import { siteUrl } from '../site-url.ts'

const askMs = 10_000

const answer = z.strictObject({
  person: z.strictObject({ id: z.string(), login: z.string(), name: z.string() }),
})

export const login: Command = {
  synopsis: 'URL [--user LOGIN] [--ca FILE | --trust FINGERPRINT]',
  summary: 'Sign in to a site. The password is asked for, or read from standard input.',
  run: async (args, out) => {
    const words = parse(
      args,
      { user: { type: 'string' }, ca: { type: 'string' }, trust: { type: 'string' } },
      [1, 1],
    )
    const url = siteUrl(words.positionals[0] ?? '')
    const site: SiteAddress = { url, ca: await authorityFor(url, words.text('ca'), words.text('trust'), out) }
    const user = words.text('user') ?? (await ask('Login: ', false))
    const password = await ask('Password: ', true)
    const keyPair = await createLoginKey()
    const body = { login: user, password, key: await exportProofKey(keyPair.publicKey) }
    const { headers, body: answered } = await call(site, {
      method: 'POST',
      path: '/api/v1/web-sessions',
      body,
    })
    const [cookie = ''] = String(headers['set-cookie'] ?? '').split(';')
    await writeLogin(site, cookie, keyPair)
    const { person } = answer.parse(JSON.parse(String(answered)))
    out.result(person, () => `Signed in to ${url} as ${person.name}.`)
  },
}

export const logout: Command = {
  synopsis: '',
  summary: 'Sign out. What was opened from here is frozen until you come back to it, or its time is up.',
  run: async (args, out) => {
    parse(args, {}, [0, 0])
    const { site, credentials } = await readLogin()
    await forgetLogin()
    await callJson(
      site,
      { method: 'DELETE', path: '/api/v1/web-sessions/current' },
      z.strictObject({}),
      credentials,
    )
    out.result({}, () => 'Signed out.')
  },
}

/**
 * The authority to trust a site by: none beside the machine's own when that already works; else from `--ca`, or the site's own
 * once somebody has compared its fingerprint. It is never trusted silently.
 */
async function authorityFor(
  url: string,
  file: string | undefined,
  fingerprint: string | undefined,
  out: Output,
): Promise<string | undefined> {
  if (file !== undefined) return readCertificates(file)
  if (fingerprint === undefined && (await isTrusted(url))) return undefined
  const pem = await fetchAuthority(url)
  const found = fingerprintOf(pem, url)
  if (fingerprint !== undefined) {
    if (fingerprint.toLowerCase().replaceAll(':', '') === found) return pem
    throw new CliError(
      'CLI_SITE_UNKNOWN',
      `the site's authority has the fingerprint ${found}, not the one given`,
      { remedy: 'Do not sign in; ask an admin.' },
    )
  }
  if (process.stdin.isTTY && !out.json) {
    out.say(`This machine does not know the authority of ${url}.\nIts fingerprint (SHA-256) is ${found}.`)
    if ((await ask('Is that what your admin told you? Type yes to trust it: ', false)) === 'yes') return pem
  }
  throw new CliError('CLI_SITE_UNKNOWN', `this machine does not trust the certificate of ${url}`, {
    remedy: `Compare with your admin, then: trustcast login ${url} --trust ${found}`,
  })
}

function fingerprintOf(pem: string, url: string): string {
  try {
    return createHash('sha256').update(new X509Certificate(pem).raw).digest('hex')
  } catch (cause) {
    throw new SiteAwayError('SITE_AWAY', `what answers at ${url} is no site`, {
      remedy: 'Give the address that people open in a browser, not that of a gateway.',
      cause,
    })
  }
}

async function isTrusted(url: string): Promise<boolean> {
  try {
    const socket = await connectTo({ url, ca: undefined })
    socket.destroy()
    return true
  } catch {
    return false
  }
}

/** Fetched from a server nobody has vouched for yet: only its fingerprint decides. */
async function fetchAuthority(url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    request(
      new URL('/api/v1/authorities', url),
      {
        agent: false,
        checkServerIdentity: () => undefined,
        rejectUnauthorized: false,
        signal: AbortSignal.timeout(askMs),
      },
      (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (part: string) => {
          text = (text + part).slice(0, 100_000)
        })
        response.on('error', reject)
        response.on('end', () => resolve(text))
      },
    )
      .on('error', (cause) => reject(away({ url }, cause)))
      .end()
  })
}
