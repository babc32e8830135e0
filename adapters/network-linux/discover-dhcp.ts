import { randomBytes } from 'node:crypto'
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  captivePortalUri,
  type DhcpMessage,
  decodeAddresses,
  decodeClasslessRoutes,
  decodeDhcp,
  dhcpOption,
  dhcpType,
  encodeDhcp,
  type Link,
  NetworkError,
  type Offer,
} from '#core/network/index.ts'

const clientPort = 68
const serverPort = 67
const everywhere = '255.255.255.255'
const broadcastFlag = 0x8000
/** Servers look first whether an address is free; dnsmasq takes up to 3 s for a new one, and 0 for one that the machine has. */
const waitMs = 3_500
const maxOffers = 50

/**
 * Asks all DHCP servers of a link what they would offer, and takes nothing: a DISCOVER without a REQUEST leaves no lease. The answers are
 * asked for by broadcast, so that they reach this beside the machine's own DHCP client.
 *
 * @throws an error with EACCES for who may not use port 68
 */
export async function discoverDhcp(
  { address, mac }: Link & { readonly address: string },
  signal: AbortSignal,
): Promise<readonly Offer[]> {
  const xid = randomBytes(4).readUInt32BE()
  const offers: Offer[] = []
  const ear = createSocket({ type: 'udp4', reuseAddr: true })
  const mouth = createSocket({ type: 'udp4', reuseAddr: true })
  ear.on('message', (bytes) => {
    const offer = offerIn(bytes, xid)
    if (offer !== undefined && offers.length < maxOffers) offers.push(offer)
  })
  try {
    await bind(ear, clientPort)
    // From its own address, so that the kernel sends it out on this link.
    await bind(mouth, clientPort, address)
    mouth.setBroadcast(true)
    const message = encodeDhcp(discover(xid, mac))
    await new Promise<void>((resolve, reject) => {
      mouth.send(message, serverPort, everywhere, (error) => (error === null ? resolve() : reject(error)))
    })
    await sleep(waitMs, undefined, { signal })
    return offers
  } finally {
    ear.close()
    mouth.close()
  }
}

function discover(xid: number, mac: string): DhcpMessage {
  const none = '0.0.0.0'
  const { messageType, parameterRequest, router, dns, captivePortal, classlessRoutes } = dhcpOption
  return {
    op: 1,
    xid,
    flags: broadcastFlag,
    ciaddr: none,
    yiaddr: none,
    siaddr: none,
    giaddr: none,
    chaddr: Buffer.from(mac.replaceAll(':', ''), 'hex'),
    options: new Map([
      [messageType, Uint8Array.of(dhcpType.discover)],
      [parameterRequest, Uint8Array.of(1, router, dns, captivePortal, classlessRoutes)],
    ]),
  }
}

/** @returns undefined for what is no answer to this question */
function offerIn(bytes: Uint8Array, xid: number): Offer | undefined {
  try {
    const { op, xid: answered, options } = decodeDhcp(bytes)
    const server = decodeAddresses(options.get(dhcpOption.serverIdentifier) ?? new Uint8Array())[0]
    if (op !== 2 || answered !== xid || server === undefined) return undefined
    const list = (code: number): readonly string[] => decodeAddresses(options.get(code) ?? new Uint8Array())
    const portal = options.get(dhcpOption.captivePortal)
    return {
      server,
      routers: list(dhcpOption.router),
      dns: list(dhcpOption.dns),
      routes: decodeClasslessRoutes(options.get(dhcpOption.classlessRoutes) ?? new Uint8Array()),
      portal: portal === undefined ? undefined : captivePortalUri(portal),
    }
  } catch (error) {
    if (error instanceof NetworkError) return undefined
    throw error
  }
}

async function bind(socket: Socket, port: number, address?: string): Promise<void> {
  const bound = once(socket, 'listening')
  socket.bind({ port, ...(address === undefined ? {} : { address }), exclusive: true })
  await bound
}
