import { spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { type Delivery, launchAnswer, route, sessionNotice } from '#core/api/person.ts'
import {
  type Channel,
  connectChannel,
  exportPublic,
  generateX25519,
  type Transport,
} from '#core/channel/index.ts'
import { callJson } from '../api-client.ts'
import { CliError } from '../cli-error.ts'
import { type Command, type Output, parse } from '../command.ts'
import { dialRoute } from '../dial-route.ts'
import { type Login, readLogin } from '../login-file.ts'

export const launch: Command = {
  synopsis: 'WORKSPACE [--socket PATH] [--viewer PROGRAM]',
  summary:
    'Open a workspace. A hosted session is offered on a local socket, readable by you alone, for any VNC viewer; with --viewer (such as vncviewer) it is started on it. Ends with Ctrl-C; the session goes on.',
  run: async (args, out) => {
    const words = parse(args, { socket: { type: 'string' }, viewer: { type: 'string' } }, [1, 1])
    const login = await readLogin()
    const { site, credentials } = login
    const { signal } = out
    // First, so that nothing is started that could not be reached.
    await using socket = await listenLocally(words.text('socket'))
    const keyPair = await generateX25519()
    const clientKey = Buffer.from(await exportPublic(keyPair.publicKey)).toString('base64url')
    const body = { workspaceId: words.positionals[0] ?? '', clientKey }
    const { delivery, decision } = await callJson(
      site,
      { method: 'POST', path: '/api/v1/launches', body },
      launchAnswer,
      credentials,
    )
    if (signal.aborted) return
    out.say(
      `${delivery.session.workspace.name}: ${decision.outcome?.mode ?? ''} on ${delivery.session.host.name}`,
    )
    const channel = connectChannel({
      dial: createDial(login, delivery),
      hostKey: Buffer.from(delivery.hostKey, 'base64url'),
      keyPair,
      ticket: Buffer.from(delivery.ticket, 'base64url'),
      context: Buffer.from(delivery.context, 'base64url'),
    })
    await offer(channel, delivery, socket, words.text('viewer'), out)
  },
}

const routesAnswer = z.strictObject({ routes: z.array(route).min(1) })

/**
 * Any gateway will do; which one is chance, so that a dead one is not tried for ever. Admissions run out, so that coming back
 * asks for new ones, and while the site is away the last known are tried.
 */
function createDial(
  { site, credentials }: Login,
  { session, routes }: Delivery,
): (signal: AbortSignal) => Promise<Transport> {
  let known = routes
  let isFirst = true
  return async (signal) => {
    if (!isFirst) {
      const path = `/api/v1/sessions/${session.id}/routes`
      const fresh = await callJson(site, { method: 'GET', path }, routesAnswer, credentials).catch(
        () => undefined,
      )
      known = fresh?.routes ?? known
    }
    isFirst = false
    const chosen = known[randomInt(known.length)]
    if (chosen === undefined) throw new CliError('CLI_CHANNEL_CLOSED', 'the site named no gateway')
    return dialRoute(site, chosen, signal)
  }
}

async function offer(
  channel: Channel,
  delivery: Delivery,
  { path, viewer }: LocalSocket,
  wanted: string | undefined,
  out: Output,
): Promise<void> {
  const ended = new Promise<string>((resolve) => {
    channel.onState = (state, reason) => {
      if (state === 'interrupted') out.say('interrupted; trying to come back')
      if (state === 'closed') resolve(reason ?? 'closed')
    }
    out.signal.addEventListener('abort', () => channel.close('left'), { once: true })
  })
  channel.onNotice = (data) => {
    const notice = sessionNotice.parse(JSON.parse(new TextDecoder().decode(data)))
    if (notice.end !== undefined) out.say(`This session ends: ${notice.end.reason}`)
  }
  void viewer.then((socket) => joinViewer(channel, socket))
  out.result(
    { session: delivery.session.id, socket: path },
    () => `Session ${delivery.session.id} is on ${path}`,
  )
  const program = wanted === undefined ? undefined : spawn(wanted, [path], { stdio: 'ignore' })
  program?.once('error', (error) => out.say(`${wanted} could not be started: ${error.message}`))
  program?.once('exit', () => channel.close('left'))
  const reason = await ended
  program?.kill()
  out.say(`Left: ${reason}`)
}

interface LocalSocket extends AsyncDisposable {
  readonly path: string
  /** The first that connects; the socket takes no other. */
  readonly viewer: Promise<Socket>
}

/** @throws {CliError} CLI_SOCKET_UNUSABLE */
async function listenLocally(wanted: string | undefined): Promise<LocalSocket> {
  const dir = wanted === undefined ? await mkdtemp(join(tmpdir(), 'trustcast-')) : undefined
  const path = wanted ?? join(dir ?? '.', 'rfb.sock')
  const server = createServer({ pauseOnConnect: true })
  const viewer = new Promise<Socket>((resolve) => {
    server.once('connection', (socket) => {
      server.close()
      resolve(socket)
    })
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(
        new CliError('CLI_SOCKET_UNUSABLE', `no socket can be made at ${path}: ${cause.message}`, {
          remedy: 'Name a path that does not exist yet, in a folder that does.',
          cause,
        }),
      ),
    )
    server.listen(path, resolve)
  })
  await chmod(path, 0o600)
  return {
    path,
    viewer,
    [Symbol.asyncDispose]: async () => {
      server.close()
      if (dir !== undefined) await rm(dir, { recursive: true, force: true })
    },
  }
}

/** One viewer for one channel: RFB cannot be joined in the middle. */
function joinViewer(channel: Channel, socket: Socket): void {
  channel.onData = (data) => void socket.write(data)
  socket.on('data', (data) => {
    if (channel.send(data)) return
    socket.pause()
    channel
      .drained()
      .then(() => socket.resume())
      .catch(() => socket.destroy())
  })
  socket.once('close', () => channel.close('left'))
  socket.on('error', () => socket.destroy())
  socket.resume()
}
