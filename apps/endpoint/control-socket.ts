import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { CodedError, isCoded } from '#core/errors/coded-error.ts'

/**
 * One process asking another of the same owner, over a unix socket that nobody else can use: one line of JSON for a
 * request, one for its answer or `{"error":{"code":…,"message":…,"remedy":…}}`, then the connection ends.
 */

/** An error of the process that was asked, as it said it. */
export class ControlRefusal extends CodedError {}

/** Why there was no answer. */
export class NoAnswer extends Error {}

/** What a value must be; a schema, or something that takes less to load. */
export interface Parser<Value> {
  /** @throws when it is not */
  parse(value: unknown): Value
}

const longestLine = 65_536
const silenceMs = 30_000

/** Answers requests. What `perform` throws is told to whoever asks. */
export async function serveControlSocket<Request>(
  path: string,
  schema: Parser<Request>,
  perform: (request: Request) => Promise<object>,
): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    void answer(socket, async () => {
      const request = schema.parse(JSON.parse(await readLine(socket)))
      // What is asked for may take its time.
      socket.setTimeout(0)
      return perform(request)
    })
  })
  await listenAlone(server, path)
  return server
}

/** Listens on a unix socket that only its owner can open. */
export async function listenAlone(server: Server, path: string): Promise<void> {
  // The socket is made before `listen` returns: nobody else can open it even for a moment.
  const umask = process.umask(0o177)
  try {
    server.listen(path)
  } finally {
    process.umask(umask)
  }
  await once(server, 'listening')
}

/**
 * @param patient for requests that may take long
 * @throws {ControlRefusal} {NoAnswer}
 */
export async function askControlSocket<Answer>(
  path: string,
  request: object,
  schema: Parser<Answer>,
  patient = false,
): Promise<Answer> {
  const said = await exchange(path, request, patient)
  const refusal = refusalIn(said)
  if (refusal === undefined) return schema.parse(said)
  const { code, message, remedy } = refusal
  throw new ControlRefusal(code, message, remedy === undefined ? {} : { remedy })
}

function refusalIn(said: unknown): Refused | undefined {
  const { error } = (said ?? {}) as { error?: Partial<Refused> }
  if (typeof error?.code !== 'string' || typeof error.message !== 'string') return undefined
  const { code, message, remedy } = error
  return { code, message, ...(typeof remedy === 'string' && { remedy }) }
}

async function exchange(path: string, request: object, patient: boolean): Promise<unknown> {
  const socket = connect({ path, allowHalfOpen: true })
  try {
    await once(socket, 'connect')
    if (!patient) socket.setTimeout(silenceMs, () => socket.destroy(new Error('it is silent')))
    socket.write(`${JSON.stringify(request)}\n`)
    return JSON.parse(await readLine(socket))
  } catch (cause) {
    throw new NoAnswer(cause instanceof Error ? cause.message : String(cause), { cause })
  } finally {
    socket.destroy()
  }
}

async function answer(socket: Socket, perform: () => Promise<object>): Promise<void> {
  socket.on('error', () => undefined)
  socket.setTimeout(silenceMs, () => socket.destroy())
  const reply = await perform().catch((error: unknown) => ({ error: inWords(error) }))
  socket.end(`${JSON.stringify(reply)}\n`)
}

interface Refused {
  readonly code: string
  readonly message: string
  readonly remedy?: string
}

function inWords(error: unknown): Refused {
  if (!isCoded(error)) return { code: 'BROKEN', message: String(error) }
  const { code, message, remedy } = error
  return { code, message, ...(remedy !== undefined && { remedy }) }
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
