import { randomBytes } from 'node:crypto'
import { Resolver } from 'node:dns/promises'
import { readFile } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { isIP } from 'node:net'
import { connect } from 'node:tls'
import { z } from 'zod'
import { parseResolvConf, type Suspicions } from '#core/network/index.ts'

/** The site as its own authority vouches for it, and nobody else. */
export interface KnownSite {
  /** `https://name:port`, of a port that shows a certificate of the site's own authority: where agents connect. */
  readonly url: string
  /** Root certificate of the site, PEM. */
  readonly rootPem: string
}

const lookMs = 4_000
const maxAddresses = 4
/** RFC 6585 section 6. */
const networkAuthenticationRequired = 511
const maxBodyBytes = 64 * 1024
const foreignChain = /^(?:UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|CERT_SIGNATURE_FAILURE)/

/** Who answers at the site's place. @param address where else than where its name leads */
async function whoAnswers(
  { url, rootPem }: KnownSite,
  signal: AbortSignal,
  address?: string,
): Promise<'site' | 'other' | 'nobody'> {
  const { hostname, port } = new URL(url)
  const host = hostname.replace(/^\[|\]$/g, '')
  const { promise, resolve } = Promise.withResolvers<'site' | 'other' | 'nobody'>()
  const socket = connect({
    host: address ?? host,
    port: Number(port === '' ? 443 : port),
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ca: rootPem,
    // That it is a part of this site is enough here: nothing is said to it.
    checkServerIdentity: () => undefined,
  })
  const either = AbortSignal.any([signal, AbortSignal.timeout(lookMs)])
  const stop = (): void => void socket.destroy()
  either.addEventListener('abort', stop)
  socket.once('secureConnect', () => resolve('site'))
  socket.once('error', (error: NodeJS.ErrnoException) =>
    resolve(foreignChain.test(error.code ?? '') ? 'other' : 'nobody'),
  )
  socket.once('close', () => resolve('nobody'))
  const who = await promise
  either.removeEventListener('abort', stop)
  socket.destroy()
  return who
}

/** Somebody else than the site answers where it should: a captive portal, or who opens connections. */
export async function lookAtSite(site: KnownSite, signal: AbortSignal): Promise<Suspicions> {
  const { hostname } = new URL(site.url)
  const [who, isLedAway] = await Promise.all([whoAnswers(site, signal), leadsAway(hostname, signal)])
  return [
    ...(who === 'other'
      ? ['somebody else answers at the site, with a certificate of another authority']
      : []),
    ...(isLedAway ? ['a captive portal answers at the site'] : []),
  ]
}

/** Portals answer unencrypted requests for anybody, and lead away from there. @returns false for nobody and for an honest answer */
async function leadsAway(hostname: string, signal: AbortSignal): Promise<boolean> {
  const answer = await get(`http://${hostname}/`, signal)
  if (answer?.location === undefined) return answer?.status === networkAuthenticationRequired
  // The site's own leads to itself, by HTTPS.
  const target = URL.parse(answer.location, `http://${hostname}/`)
  return target !== null && target.hostname !== hostname
}

const portalAnswer = z.looseObject({ captive: z.boolean() })

/**
 * Asks the API of a captive portal whether it still holds this machine back (RFC 8908). The answer is taken whoever gives it: it can
 * only lower trust.
 */
export async function lookAtPortal(uri: string, signal: AbortSignal): Promise<Suspicions> {
  const answer = await get(uri, signal)
  let said: unknown
  try {
    said = JSON.parse(answer?.body ?? '')
  } catch {
    said = undefined
  }
  const parsed = portalAnswer.safeParse(said)
  if (parsed.success && !parsed.data.captive) return []
  return [
    parsed.success
      ? 'this network has a captive portal, which holds this device back'
      : 'this network names a captive portal',
  ]
}

interface Page {
  readonly status: number
  readonly location: string | undefined
  readonly body: string
}

/** @returns undefined when nobody answers, or nobody whom the machine trusts */
async function get(url: string, signal: AbortSignal): Promise<Page | undefined> {
  const { promise, resolve } = Promise.withResolvers<Page | undefined>()
  const request = url.startsWith('https:') ? httpsRequest : httpRequest
  const asked = request(
    url,
    {
      agent: false,
      headers: { accept: 'application/captive+json' },
      signal: AbortSignal.any([signal, AbortSignal.timeout(lookMs)]),
    },
    (response) => {
      let body = ''
      const { statusCode: status = 0, headers } = response
      response.on('data', (data: Buffer) => {
        body += data.toString()
        if (body.length > maxBodyBytes) asked.destroy()
      })
      response.on('end', () => resolve({ status, location: headers.location, body }))
      response.on('error', () => resolve(undefined))
    },
  )
  asked.on('error', () => resolve(undefined)).on('close', () => resolve(undefined))
  asked.end()
  return promise
}

/** A resolver that finds what cannot exist, or leads to somebody else than the site, lies. */
export async function lookAtNames(
  site: KnownSite | undefined,
  resolvConf: string,
  signal: AbortSignal,
): Promise<Suspicions> {
  const servers = parseResolvConf(await readFile(resolvConf, 'utf8').catch(() => ''))
  if (servers.length === 0) return []
  const resolver = new Resolver({ timeout: lookMs / 2, tries: 1 })
  resolver.setServers(servers)
  // RFC 6761 section 6.4: no name under `invalid` exists. A name that nobody can have registered finds those who spare only that one.
  const word = randomBytes(15).toString('hex')
  const [impossible, led] = await Promise.all([
    Promise.all([`${word}.invalid`, `${word}.com`].map((name) => addressesOf(resolver, name))),
    site === undefined ? [] : whereNameLeads(site, resolver, signal),
  ])
  return [
    ...(impossible.flat().length > 0 ? ['the DNS of this network finds names that do not exist'] : []),
    ...led,
  ]
}

async function whereNameLeads(site: KnownSite, resolver: Resolver, signal: AbortSignal): Promise<Suspicions> {
  const { hostname } = new URL(site.url)
  if (isIP(hostname.replace(/^\[|\]$/g, '')) !== 0 || hostname === 'localhost') return []
  const found = (await addressesOf(resolver, hostname)).slice(0, maxAddresses)
  const answers = await Promise.all(
    found.map(async (address) => ({ address, who: await whoAnswers(site, signal, address) })),
  )
  return answers.flatMap(({ address, who }) =>
    who === 'other'
      ? [`the DNS of this network leads to ${address} for the site, where somebody else answers`]
      : [],
  )
}

async function addressesOf(resolver: Resolver, name: string): Promise<readonly string[]> {
  try {
    return await resolver.resolve4(name)
  } catch {
    // Not found, refused, or nobody there: nothing was claimed.
    return []
  }
}
