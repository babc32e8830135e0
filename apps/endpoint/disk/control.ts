import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { z } from 'zod'
import { CodedError, isCoded } from '#core/errors/coded-error.ts'
import { DiskError } from './disk-error.ts'
import { type DiskStats, diskStats } from './disk-stats.ts'

/** How a disk was detached. */
export interface Detached {
  /** Programs still had it, or it did not answer: what they hold fails, and what was written last may be lost. */
  readonly lazily: boolean
}

/** What can be asked of the process that serves a disk. */
export interface DiskControl {
  stats(): Promise<DiskStats>
  detach(force: boolean): Promise<Detached>
}

/** An error of the process that serves a disk, as it said it. */
export class DiskRefusal extends CodedError {}

const request = z.union([
  z.strictObject({ stats: z.literal(true) }),
  z.strictObject({ detach: z.strictObject({ force: z.boolean() }) }),
])
type Request = z.infer<typeof request>

const refusal = z.strictObject({
  error: z.strictObject({ code: z.string(), message: z.string(), remedy: z.string().exactOptional() }),
})
const statsAnswer = z.strictObject({ stats: diskStats })
const detachAnswer = z.strictObject({ detached: z.strictObject({ lazily: z.boolean() }) })

const longestLine = 65_536
const silenceMs = 30_000

/**
 * Answers other processes on a unix socket that only its owner can use: one line of JSON for a request, one for its
 * answer, then the connection ends.
 *
 *     {"stats":true}              {"stats":{…}}
 *     {"detach":{"force":false}}  {"detached":{"lazily":false}}
 *                                 {"error":{"code":…,"message":…,"remedy":…}}
 */
export async function serveControl(path: string, control: DiskControl): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, (socket) => void answer(socket, control))
  // The socket is made before `listen` returns: nobody else can open it even for a moment.
  const umask = process.umask(0o177)
  try {
    server.listen(path)
  } finally {
    process.umask(umask)
  }
  await once(server, 'listening')
  return server
}

/** The process that serves a disk, through its control socket. Calls throw what that process said, or DISK_NOT_ANSWERING. */
export function controlOf(path: string): DiskControl {
  return {
    stats: async () => (await ask(path, { stats: true }, statsAnswer)).stats,
    detach: async (force) => (await ask(path, { detach: { force } }, detachAnswer)).detached,
  }
}

async function answer(socket: Socket, control: DiskControl): Promise<void> {
  socket.on('error', () => undefined)
  socket.setTimeout(silenceMs, () => socket.destroy())
  const reply = await perform(socket, control).catch((error: unknown) => ({ error: inWords(error) }))
  socket.end(`${JSON.stringify(reply)}\n`)
}

async function perform(socket: Socket, control: DiskControl): Promise<object> {
  const wanted = request.parse(JSON.parse(await readLine(socket)))
  // To detach may take as long as what was written takes to be written back.
  socket.setTimeout(0)
  if ('stats' in wanted) return { stats: await control.stats() }
  return { detached: await control.detach(wanted.detach.force) }
}

function inWords(error: unknown): { code: string; message: string; remedy?: string } {
  if (!isCoded(error)) return { code: 'BROKEN', message: String(error) }
  const { code, message, remedy } = error
  return { code, message, ...(remedy !== undefined && { remedy }) }
}

/** @throws {DiskRefusal} {DiskError} DISK_NOT_ANSWERING */
async function ask<Answer>(path: string, wanted: Request, schema: z.ZodType<Answer>): Promise<Answer> {
  const socket = connect({ path, allowHalfOpen: true })
  let line: string
  try {
    await once(socket, 'connect')
    if ('stats' in wanted) socket.setTimeout(silenceMs, () => socket.destroy(new Error('it is silent')))
    socket.write(`${JSON.stringify(wanted)}\n`)
    line = await readLine(socket)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new DiskError('DISK_NOT_ANSWERING', `the process that serves the disk did not answer: ${why}`, {
      cause,
    })
  } finally {
    socket.destroy()
  }
  const said: unknown = JSON.parse(line)
  const { success, data } = refusal.safeParse(said)
  if (!success) return schema.parse(said)
  const { code, message, remedy } = data.error
  throw new DiskRefusal(code, message, remedy === undefined ? {} : { remedy })
}

async function readLine(socket: Socket): Promise<string> {
  let text = ''
  for await (const bytes of socket.iterator({ destroyOnReturn: false })) {
    text += String(bytes)
    const end = text.indexOf('\n')
    if (end >= 0) return text.slice(0, end)
    if (text.length > longestLine) throw new Error(`expected a line, got more than ${longestLine} bytes`)
  }
  throw new Error('expected a line, the connection ended')
}
