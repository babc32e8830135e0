import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { enrolAgent } from '#apps/agent-client/index.ts'
import { tokenAnswer } from '#core/api/admin.ts'
import {
  type DeviceLaunchAnswer,
  type DeviceStatus,
  deviceLaunchAnswer,
  deviceStatus,
  type HandoffRequest,
  handoffAnswer,
} from '#core/api/handoff.ts'
import { type RunningSite, type SignedInClient, until } from './running-site.rig.ts'

const trustcast = join(import.meta.dirname, '../trustcast')
/** An account that every Debian has; workspaces do not run as root. */
export const account = 'games'

/** On a machine that does much else. */
const startMs = 60_000

/** `trustcast endpoint` of a machine that was enrolled, as its people start it. */
export interface RunningService extends AsyncDisposable {
  readonly id: string
  readonly dir: string
  readonly port: number
  readonly pid: number
  /** Environment of command lines on this machine. */
  readonly env: NodeJS.ProcessEnv
  /** What it wrote to its log. */
  log(): string
  /** A request as the site's own page makes it, unless told otherwise. */
  ask(request?: DeviceRequest): Promise<DeviceAnswer>
  status(): Promise<DeviceStatus>
  launch(code: string): Promise<DeviceLaunchAnswer>
}

export interface DeviceRequest {
  readonly method?: string
  readonly path?: string
  /** `undefined` leaves one out. */
  readonly headers?: Readonly<Record<string, string | undefined>>
  readonly body?: string
}

export interface DeviceAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly text: string
}

export interface ServiceOptions {
  readonly args?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

export async function startService(
  site: RunningSite,
  admin: SignedInClient,
  name: string,
  // What this machine really sees of itself would decide what it is given.
  { args = ['--port', '0', '--as', account, '--no-report'], env: more = {} }: ServiceOptions = {},
): Promise<RunningService> {
  const folder = await mkdtemp(join(tmpdir(), 'tc-service-'))
  // As on a machine: everybody may pass through, what is inside is closed to them.
  await chmod(folder, 0o711)
  const dir = join(folder, 'state')
  const wish = { kind: 'endpoint', name }
  const { token } = await admin.send('POST', '/admin/enrolment-tokens', wish, tokenAnswer)
  const { id } = await enrolAgent({ url: site.url, token, dir, kind: 'endpoint' })
  const env = { ...process.env, TRUSTCAST_RUN: join(folder, 'run'), TRUSTCAST_ENDPOINT: dir, ...more }
  const child = spawn(trustcast, ['endpoint', ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (output += String(data)))
  const stop = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) {
      const gone = once(child, 'exit')
      child.kill('SIGTERM')
      await gone
    }
    await rm(folder, { recursive: true, force: true })
  }
  const portOf = (): number => Number(/"port":(\d+),"msg":"endpoint service runs"/.exec(output)?.[1] ?? 0)
  const service: RunningService = {
    id,
    dir,
    get port() {
      return portOf()
    },
    pid: child.pid ?? 0,
    env,
    log: () => output,
    ask: (request) => askDevice(portOf(), site.url, request),
    status: async () => deviceStatus.parse(JSON.parse((await service.ask({ path: '/status' })).text)),
    launch: async (code) => {
      const { status, text } = await service.ask({
        method: 'POST',
        path: '/launch',
        body: JSON.stringify({ code }),
      })
      if (status !== 200) throw new Error(text)
      return deviceLaunchAnswer.parse(JSON.parse(text))
    },
    [Symbol.asyncDispose]: stop,
  }
  try {
    await until(
      () => {
        if (child.exitCode !== null) throw new Error(`the service ended with ${child.exitCode}:\n${output}`)
        return portOf() > 0
      },
      'the service listens',
      startMs,
    )
    await until(async () => (await service.status()).connected, 'the service is connected', startMs)
  } catch (error) {
    await stop()
    throw error
  }
  return service
}

/** A code as the portal asks for it. */
export async function codeFor(client: SignedInClient, wish: HandoffRequest): Promise<string> {
  return (await client.send('POST', '/handoffs', wish, handoffAnswer)).code
}

/** One request to the loopback port of a device. @param origin of the page that asks */
export async function askDevice(
  port: number,
  origin: string,
  { method = 'GET', path = '/status', headers = {}, body = '' }: DeviceRequest = {},
): Promise<DeviceAnswer> {
  const all = {
    host: `127.0.0.1:${port}`,
    origin,
    ...(body !== '' && {
      'content-type': 'application/json',
      'content-length': String(Buffer.byteLength(body)),
    }),
    ...headers,
  }
  const said = Object.fromEntries(
    Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== undefined),
  )
  return new Promise((resolve, reject) => {
    const sent = httpRequest(
      { host: '127.0.0.1', port, method, path, headers: said, agent: false, setHost: false },
      (response) => {
        let text = ''
        response.on('data', (part) => (text += String(part)))
        response.on('error', reject)
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text }),
        )
      },
    )
    sent.on('error', reject)
    sent.end(body)
  })
}
