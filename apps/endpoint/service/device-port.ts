import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import {
  type Admitted,
  type ArrivedAtDevice,
  admit,
  corsHeaders,
  type DeviceRoute,
} from '#core/handoff/index.ts'
import { askerOfTcp } from './asker.ts'
import { serveDisplays } from './device-display.ts'
import { answer, answerError, createPace, isAnswerEnough, serveRoute } from './device-routes.ts'
import type { DeviceService } from './endpoint-service.ts'
import { ServiceError } from './service-error.ts'

const address = '127.0.0.1'
/** A portal polls once a second, and several may be open. */
const burst = { status: 60, launch: 12, display: 12 }
const perSecond = { status: 10, launch: 0.5, display: 0.5 }

export interface DevicePort extends AsyncDisposable {
  readonly port: number
}

/**
 * The way from a browser into the service: HTTP on this machine's loopback address alone. Pages of the site are answered, every other request
 * is refused before it is read.
 *
 * @param origin the site's, as browsers say it
 * @param port 0 picks a free one
 */
export async function openDevicePort(
  service: DeviceService,
  { origin, port }: { readonly origin: string; readonly port: number },
): Promise<DevicePort> {
  const paces = { status: paceOf('status'), launch: paceOf('launch'), display: paceOf('display') }
  const server = createServer({
    maxHeaderSize: 16_384,
    requestTimeout: 5_000,
    headersTimeout: 5_000,
    keepAliveTimeout: 5_000,
  })
  server.maxConnections = 64
  server.listen(port, address)
  await once(server, 'listening')
  const terms = { origin, port: (server.address() as AddressInfo).port }
  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { method = '', url: path = '', headers } = request
    const arrived: ArrivedAtDevice = { method, path, headers }
    let admitted: Admitted
    try {
      admitted = admit(arrived, terms)
    } catch (error) {
      // Without leave to read: whoever asked from elsewhere learns nothing.
      return answerError(response, error)
    }
    const cors = corsHeaders(arrived, terms, admitted.kind === 'preflight')
    if (admitted.kind === 'preflight') return void response.writeHead(204, cors).end()
    try {
      paces[admitted.kind]()
      const asker = await askerOfTcp(request.socket)
      if (asker === undefined)
        throw new ServiceError('SERVICE_NO_ACCOUNT', 'the program that asks is not of this machine')
      answer(response, 200, await serveRoute(service, admitted.kind, 'page', request, asker), cors)
    } catch (error) {
      if (!isAnswerEnough(error)) service.warn(error)
      answerError(response, error, cors)
    }
  }
  server.on('request', (request, response) => void handle(request, response))
  const viewers = serveDisplays(server, service, terms, paceOf('display'))
  return {
    port: terms.port,
    [Symbol.asyncDispose]: () => {
      viewers[Symbol.dispose]()
      return close(server)
    },
  }
}

function paceOf(kind: DeviceRoute): () => void {
  return createPace(burst[kind], perSecond[kind], () => performance.now())
}

export async function close(server: Server): Promise<void> {
  const closed = once(server, 'close')
  server.close()
  server.closeAllConnections()
  await closed
}
