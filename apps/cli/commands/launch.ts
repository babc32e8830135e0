import { spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { chmod, mkdtemp, rm, rmdir } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ParseArgsOptionsConfig } from 'node:util'
import { z } from 'zod'
import { runApplication } from '#apps/endpoint/deliver-disk.ts'
import { runDirectory } from '#apps/endpoint/disk/run-dir.ts'
import { callJson } from '#apps/site-client/call.ts'
import { copyNotice, type HostedDelivery, route, sessionNotice } from '#core/api/person.ts'
import { type Channel, connectChannel, type Transport } from '#core/channel/index.ts'
import { CliError } from '../cli-error.ts'
import { type Command, type Output, type Parsed, parse } from '../command.ts'
import { accountHere, type DiskUse, deliverHere, displayHere } from '../deliver-here.ts'
import { dialRoute } from '../dial-route.ts'
import { launchHere, startAgentHere } from '../launch-here.ts'
import { type Login, readLogin } from '../login-file.ts'
import { continueWaiting, runVmHere, type VmUse } from '../run-vm-here.ts'
import { atThisEndpoint } from '../this-endpoint.ts'
import { backgroundRate, storeOptions } from './image/store-options.ts'

const launchWords: ParseArgsOptionsConfig = {
  socket: { type: 'string' },
  viewer: { type: 'string' },
  as: { type: 'string' },
  network: { type: 'boolean' },
  'store-ca': { type: 'string' },
  'background-rate': { type: 'string' },
}

export const launch: Command = {
  synopsis:
    'WORKSPACE [--socket PATH] [--viewer PROGRAM] [--as ACCOUNT] [--network] [--store-ca FILE] [--background-rate SIZE]',
  summary:
    'Open a workspace. On an endpoint a streamed disk is mounted and its application started in a sandbox, as ACCOUNT or whoever called sudo; with --network it may use the network. A local VM runs, while the rest of its image is fetched (at most SIZE a second), until it is shut down: by itself, by Ctrl-C or by trustcast vm stop. A hosted session is offered on a local socket, readable by you alone, for any VNC viewer; with --viewer (such as vncviewer) it is started on it. Ends with Ctrl-C; the session goes on.',
  run: async (args, out) => {
    const words = parse(args, launchWords, [1, 1])
    const options = await usableHere(words)
    const login = await atThisEndpoint(await readLogin())
    const { signal } = out
    const workspaceId = words.positionals[0] ?? ''
    if (await continueWaiting(login, workspaceId)) {
      out.result({ continued: workspaceId }, () => 'The VM goes on, where it was started.')
      return
    }
    await using agent = await startAgentHere(login)
    // First, so that nothing is started that could not be reached.
    await using socket = await listenLocally(words.text('socket'))
    const launched = await launchHere(login, agent, workspaceId, signal)
    const { delivery, decision, keyPair } = launched
    const { session } = delivery
    const machine = session.host ?? session.endpoint
    out.say(`${session.workspace.name}: ${decision.outcome?.mode ?? ''} on ${machine?.name ?? ''}`)
    if (delivery.kind === 'streamed-disk') {
      if (agent === undefined)
        throw new CliError('CLI_NOT_ENROLLED', 'a disk was delivered to a machine that is no endpoint')
      // Awaited here: the agent keeps the lease until then.
      const { storeOptions } = options
      await runFromDisk(
        { site: login.site, agent, launched: { ...launched, delivery }, storeOptions },
        words,
        out,
      )
      return
    }
    if (delivery.kind === 'local-vm') {
      if (agent === undefined)
        throw new CliError('CLI_NOT_ENROLLED', 'a VM was delivered to a machine that is no endpoint')
      await runVmHere(
        {
          site: login.site,
          agent,
          launched: { ...launched, delivery },
          ...options,
          viewer: words.text('viewer'),
        },
        out,
      )
      return
    }
    if (signal.aborted) return
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

/**
 * What is wrong with the words is said before the site is asked: what it delivers and nobody takes is held until its lease is over.
 *
 * @throws {CliError} CLI_NO_ACCOUNT, CLI_FILE_MISSING, CLI_NO_CERTIFICATE, USAGE
 */
async function usableHere(words: Parsed): Promise<Pick<VmUse, 'storeOptions' | 'backgroundBytesPerSecond'>> {
  const named = words.text('as')
  if (named !== undefined) await accountHere(named)
  return { storeOptions: await storeOptions(words), backgroundBytesPerSecond: backgroundRate(words) }
}

/** Runs the workspace's application from a disk that is mounted for it alone. */
async function runFromDisk(
  delivered: Pick<DiskUse, 'site' | 'agent' | 'launched' | 'storeOptions'>,
  words: Parsed,
  out: Output,
): Promise<void> {
  const screen = { network: words.flag('network'), ...displayHere() }
  const runDir = runDirectory(process.env, process.getuid?.())
  // Others do not come as far as the disk, whatever its own root lets everybody do.
  const dir = await mkdtemp(join(tmpdir(), 'trustcast-disk-'))
  try {
    await deliverHere(
      {
        ...delivered,
        serving: { format: 'raw', runDir, mount: { dir: join(dir, 'disk'), readOnly: false } },
        use: async (disk) => {
          out.say(`Disk ${disk.served.record.id} is mounted`)
          // Here, so that the lease is given back when nobody is named.
          const user = await accountHere(words.text('as'))
          const exitCode = await runApplication(disk, { user, ...screen })
          if (exitCode !== 0) out.say(`${disk.application} ended with ${exitCode}`)
        },
      },
      out,
    )
  } finally {
    await rmdir(dir).catch(() => {})
  }
}

const routesAnswer = z.strictObject({ routes: z.array(route).min(1) })

/**
 * Any gateway will do; which one is chance, so that a dead one is not tried for ever. Admissions run out, so that coming back
 * asks for new ones, and while the site is away the last known are tried.
 */
function createDial(
  { site, credentials }: Login,
  { session, routes }: HostedDelivery,
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
  delivery: HostedDelivery,
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
    const content: unknown = JSON.parse(new TextDecoder().decode(data))
    if (copyNotice.safeParse(content).success)
      return out.say('What was copied stays in the session: it is larger than the policy allows.')
    const notice = sessionNotice.parse(content)
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
