import { createPrivateKey } from 'node:crypto'
import { request } from 'node:https'
import { isIP } from 'node:net'
import { connect, createSecureContext, getCACertificates, type SecureContext, type TLSSocket } from 'node:tls'
import type { z } from 'zod'
import { channelBinding } from '#adapters/pki-x509/index.ts'
import { AgentError, type AgentIdentity } from '#apps/agent-client/index.ts'
import { pathChallengeAnswer, pathEvidenceAnswer } from '#core/api/evidence.ts'
import { makeEvidence } from '#core/evidence/index.ts'

/**
 * When somebody ends TLS on the way to the port for agents, the site cannot be told there: the agent speaks to nobody but the site. The
 * port for people can be reached through such a proxy where this machine trusts its authority. What is said there is signed, names the
 * connection that it was sent over, and says nothing else: whoever reads along learns nothing.
 */

const timeoutMs = 15_000
const maxAnswerBytes = 10_000
/**
 * What Node says of a certificate that is not of the site's own authority. Of one that is not good at this time it says that alone, whoever it
 * is of: as a rule the clock of this machine is wrong.
 */
const foreignCodes = /^(?:UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|CERT_|PKI_WRONG_PEER)/
const untimelyCodes: ReadonlySet<unknown> = new Set(['CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID'])

/** @returns why a connection failed: `foreign` when somebody else than the site answered, `untimely` when that or the clock may be it */
export function faultOfPeer(error: Error | undefined): 'foreign' | 'untimely' | undefined {
  if (error === undefined || !('code' in error)) return undefined
  if (untimelyCodes.has(error.code)) return 'untimely'
  return foreignCodes.test(String(error.code)) ? 'foreign' : undefined
}

/**
 * Has the site compare the two ends of a connection to its port for people.
 *
 * @param trusted authorities beside the site's own, PEM; those of this machine unless others are named
 * @returns what it found
 * @throws {AgentError} AGENT_SITE_AWAY, AGENT_SITE_MALFORMED, also when the site refuses; AGENT_NOT_ENROLLED when it is not known where people reach it
 */
export async function reportPath(
  identity: AgentIdentity,
  trusted: readonly string[] = [...getCACertificates('default'), ...getCACertificates('system')],
): Promise<'none' | 'detected' | 'unknown'> {
  const { id, siteId, siteUrl, rootPem, privateKeyPem } = identity
  if (siteUrl === undefined)
    throw new AgentError('AGENT_NOT_ENROLLED', 'this identity does not know where people reach its site', {
      remedy: 'Enrol this machine again.',
    })
  const url = new URL(siteUrl)
  const trust = createSecureContext({ ca: [rootPem, ...trusted], minVersion: 'TLSv1.3' })
  const { nonce } = await post(
    await dial(url, trust),
    url,
    `/api/v1/endpoints/${id}/challenge`,
    {},
    pathChallengeAnswer,
  )
  const socket = await dial(url, trust)
  const statement = makeEvidence(
    {
      endpoint: id,
      site: siteId,
      nonce,
      sequence: 1,
      at: Date.now(),
      exporter: channelBinding(socket),
      observations: [],
    },
    createPrivateKey(privateKeyPem),
  )
  const path = `/api/v1/endpoints/${id}/evidence`
  return (await post(socket, url, path, { statement }, pathEvidenceAnswer)).interception
}

async function dial({ hostname, port }: URL, secureContext: SecureContext): Promise<TLSSocket> {
  const host = hostname.replace(/^\[|\]$/g, '')
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const socket = connect({
    host,
    port: Number(port === '' ? 443 : port),
    ...(isIP(host) === 0 ? { servername: host } : {}),
    secureContext,
    timeout: timeoutMs,
  })
  socket.once('secureConnect', resolve).once('error', reject)
  socket.once('timeout', () => socket.destroy(new Error('it took too long')))
  try {
    await promise
    return socket
  } catch (cause) {
    socket.destroy()
    throw new AgentError('AGENT_SITE_AWAY', `${host} cannot be reached`, { cause })
  }
}

async function post<T>(
  socket: TLSSocket,
  url: URL,
  path: string,
  body: object,
  answer: z.ZodType<T>,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const text = JSON.stringify(body)
  const headers = {
    host: url.host,
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
    connection: 'close',
  }
  const sent = request({ createConnection: () => socket, method: 'POST', path, headers })
  sent.on('error', reject)
  // A request over a connection that is gone already hears of nothing, for ever.
  const gone = (): void => reject(new Error('the connection was closed'))
  socket.once('close', gone)
  if (socket.destroyed) gone()
  sent.on('response', (response) => {
    const parts: Buffer[] = []
    let length = 0
    response.on('error', reject)
    response.on('data', (part: Buffer) => {
      length += part.length
      parts.push(part)
      if (length > maxAnswerBytes) response.destroy(new Error('the answer is too long'))
    })
    response.on('end', () => resolve(Buffer.concat(parts).toString()))
  })
  sent.end(text)
  try {
    return answer.parse(JSON.parse(await promise))
  } catch (cause) {
    throw new AgentError('AGENT_SITE_MALFORMED', `${url.host} did not answer as the site does`, { cause })
  } finally {
    socket.destroy()
  }
}
