import { chmod, chown, mkdir, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { connect } from 'node:net'
import { dirname, join } from 'node:path'
import { HandoffError } from '#core/handoff/index.ts'
import { findGroup } from '../accounts.ts'
import { listenAlone } from '../control-socket.ts'
import { type Asker, askerOfUnix } from './asker.ts'
import { close } from './device-port.ts'
import { answer, answerError, createPace, isAnswerEnough, readBody, serveRoute } from './device-routes.ts'
import type { DeviceService } from './endpoint-service.ts'
import { ServiceError } from './service-error.ts'

/** Where the service is reached by programs of this machine. */
export function deviceSocketPath(runDir: string): string {
  return join(runDir, 'endpoint.sock')
}

/**
 * The way from the command line into the service: HTTP on a unix socket. Everybody of this machine may ask (0666): the kernel says who does, and
 * each is answered about their own alone.
 *
 * @param group whose members alone may ask (0660)
 * @throws {ServiceError} SERVICE_BAD_REQUEST when another service has it or the group does not exist
 */
export async function openDeviceSocket(
  service: DeviceService,
  { path, group }: { readonly path: string; readonly group: string | undefined },
): Promise<AsyncDisposable> {
  const gid = group === undefined ? undefined : await groupId(group)
  await mkdir(dirname(path), { recursive: true, mode: 0o755 })
  if (await isAnswered(path))
    throw new ServiceError('SERVICE_BAD_REQUEST', `another service answers on ${path}`, {
      remedy: 'End it first: systemctl stop trustcast-endpoint',
    })
  await rm(path, { force: true })
  const pace = createPace(60, 10, () => performance.now())
  const server = createServer({ requestTimeout: 5_000, headersTimeout: 5_000, keepAliveTimeout: 1 })
  server.maxConnections = 64
  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    try {
      pace()
      const serve = routeOf(service, request)
      const asker = await askerOfUnix(request.socket)
      if (asker === undefined)
        throw new ServiceError('SERVICE_NO_ACCOUNT', 'the program that asks cannot be seen')
      answer(response, 200, await serve(asker))
    } catch (error) {
      if (!isAnswerEnough(error)) service.warn(error)
      answerError(response, error)
    }
  }
  server.on('request', (request, response) => void handle(request, response))
  await listenAlone(server, path)
  if (gid !== undefined) await chown(path, process.getuid?.() ?? 0, gid)
  await chmod(path, gid === undefined ? 0o666 : 0o660)
  return { [Symbol.asyncDispose]: () => close(server) }
}

type Serve = (asker: Asker) => Promise<unknown>

/** @throws {HandoffError} DEVICE_NO_ROUTE */
function routeOf(service: DeviceService, request: IncomingMessage): Serve {
  const { method = '', url = '' } = request
  const wanted = `${method} ${url}`
  if (wanted === 'GET /status') return (asker) => serveRoute(service, 'status', 'address', request, asker)
  if (wanted === 'POST /launch') return (asker) => serveRoute(service, 'launch', 'address', request, asker)
  if (wanted === 'GET /vms') return async (asker) => ({ vms: await service.vms(asker) })
  const [, id] = /^POST \/vms\/([0-9a-f]{8})$/.exec(wanted) ?? []
  if (id !== undefined) return async (asker) => service.actOnVm(id, await readBody(request), asker)
  throw new HandoffError('DEVICE_NO_ROUTE', 'expected GET /status, POST /launch, GET /vms or POST /vms/ID')
}

async function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}

async function groupId(name: string): Promise<number> {
  const gid = await findGroup(name)
  if (gid !== undefined) return gid
  throw new ServiceError('SERVICE_BAD_REQUEST', `there is no group ${name} on this machine`, {
    remedy: `Make it: groupadd --system ${name}`,
  })
}
