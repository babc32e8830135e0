import { TLSSocket } from 'node:tls'
import type { FastifyRequest } from 'fastify'
import { channelBinding } from '#adapters/pki-x509/index.ts'
import { contains, parseAddress } from '#core/trust/index.ts'
import type { Site } from '../site.ts'

/**
 * The site's end of the connection that a request came over (RFC 9266), 32 bytes, base64url; undefined where a trusted proxy of the site
 * stands before this port: it ends TLS by its trade, and the two ends cannot be compared.
 */
export function exporterOf(site: Site, { raw: { socket } }: FastifyRequest): string | undefined {
  const peer = parseAddress((socket.remoteAddress ?? '').replace(/%[\w.-]+$/, ''))
  const isProxy = site.trustedProxies.some((proxy) => contains(proxy, peer))
  return socket instanceof TLSSocket && !isProxy ? channelBinding(socket) : undefined
}
