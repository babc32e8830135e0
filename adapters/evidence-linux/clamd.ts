import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import {
  type ClamdPlaces,
  type ClamdState,
  judgeClamd,
  latest,
  type PostureRules,
  parseClamdConf,
  parseClamdVersion,
  type WatchingCollector,
} from '#core/posture/index.ts'
import { namesIn, readText, writtenAt } from './read-bounded.ts'

export interface ClamdOptions {
  /** Files that may be clamd's configuration; the first that is there counts. */
  readonly configurations: readonly string[]
  readonly rules: PostureRules
  /** Unix time, ms. */
  readonly now: () => number
}

/** Where Debian, Fedora and ClamAV itself put clamd's configuration. */
export const clamdConfigurations: readonly string[] = [
  '/etc/clamav/clamd.conf',
  '/etc/clamd.d/scan.conf',
  '/usr/local/etc/clamd.conf',
]

const answerMs = 3_000
const pingMs = 5_000
const againMs = 1_000
/** Where none has ever answered, one that is started may wait this long to be noticed. */
const absentMs = 5_000
const maxAnswerChars = 1_000

/**
 * Asks ClamAV's clamd how it is (clamd(8), IDSESSION, PING, VERSION), and holds a session open to notice at once when it ends. A session
 * waits in clamd's poll, it takes none of its threads.
 */
export function clamdCollector({ configurations, rules, now }: ClamdOptions): WatchingCollector {
  return {
    name: 'clamd',
    claims: ['endpoint.antivirus'],
    collect: async (signal) => {
      const state = await stateOf(configurations, signal)
      // Another antivirus is expected here, and whether that runs is judged by its rules.
      if (state.state === 'absent' && rules.antivirus.length > 0) return []
      return [judgeClamd(state, rules.limits, now())]
    },
    watch: (changed, signal) => void keepSession(configurations, changed, signal),
  }
}

async function stateOf(configurations: readonly string[], signal: AbortSignal): Promise<ClamdState> {
  const places = await placesOf(configurations)
  if (places === undefined) return { state: 'absent' }
  const socket = dial(places)
  if (socket === undefined) return { state: 'silent', why: 'it is not set to listen' }
  try {
    const answers = await ask(socket, signal)
    if (answers === undefined) return { state: 'hangs', signaturesAt: await newestIn(places.signatures) }
    if (!answers.includes('1: PONG')) return { state: 'silent', why: 'it does not answer' }
    const version = answers.find((answer) => answer.startsWith('2: '))?.slice(3)
    return {
      state: 'answers',
      version: parseClamdVersion(version ?? ''),
      signaturesAt: await newestIn(places.signatures),
    }
  } catch (error) {
    signal.throwIfAborted()
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'no answer'
    return { state: 'silent', why: `nobody answers where it should listen (${code})` }
  } finally {
    socket.destroy()
  }
}

async function placesOf(configurations: readonly string[]): Promise<ClamdPlaces | undefined> {
  for (const path of configurations) {
    const text = await readText(path)
    if (text !== undefined) return parseClamdConf(text)
  }
  return undefined
}

function dial({ socket, port }: ClamdPlaces): Socket | undefined {
  if (socket !== undefined) return connect({ path: socket })
  return port === undefined ? undefined : connect(port)
}

/** @returns the answers to PING and VERSION, as `1: PONG`; undefined when it takes too long to answer */
async function ask(socket: Socket, signal: AbortSignal): Promise<readonly string[] | undefined> {
  return new Promise((resolve, reject) => {
    let text = ''
    const fail = (): void => reject(new Error('no answer'))
    socket.setEncoding('utf8')
    socket.setTimeout(answerMs, () => resolve(undefined))
    socket.on('error', reject)
    socket.on('close', fail)
    signal.addEventListener('abort', fail)
    socket.on('data', (part: string) => {
      text = (text + part).slice(0, maxAnswerChars)
      const answers = text.split('\0')
      if (answers.length > 2 || text.length === maxAnswerChars) resolve(answers)
    })
    socket.write('zIDSESSION\0zPING\0zVERSION\0')
  })
}

async function newestIn(folder: string): Promise<number | undefined> {
  const names = await namesIn(folder)
  const times = await Promise.all(names.slice(0, 1000).map(async (name) => writtenAt(join(folder, name))))
  return times.reduce(latest, undefined)
}

/** One session after the other, until the signal ends: whenever one begins to answer or ends, something has changed. */
async function keepSession(
  configurations: readonly string[],
  changed: () => void,
  signal: AbortSignal,
): Promise<void> {
  let isKnown = false
  while (!signal.aborted) {
    const places = await placesOf(configurations).catch(() => undefined)
    const socket = places === undefined ? undefined : dial(places)
    const hadAnswered = socket !== undefined && (await untilSilent(socket, changed, signal))
    if (hadAnswered && !signal.aborted) changed()
    isKnown ||= hadAnswered
    await pause(isKnown ? againMs : absentMs, signal)
  }
}

/** @returns whether it had answered, once it does not any more */
async function untilSilent(socket: Socket, changed: () => void, signal: AbortSignal): Promise<boolean> {
  const ended = Promise.withResolvers<boolean>()
  let hasAnswered = false
  let isAsked = true
  socket.unref()
  const ping = setInterval(() => {
    // The last one was not answered: it hangs.
    if (isAsked) socket.destroy()
    else socket.write('zPING\0')
    isAsked = true
  }, pingMs)
  ping.unref()
  socket.on('error', () => socket.destroy())
  socket.on('data', () => {
    isAsked = false
    if (!hasAnswered) changed()
    hasAnswered = true
  })
  socket.on('close', () => ended.resolve(hasAnswered))
  const stop = (): unknown => socket.destroy()
  signal.addEventListener('abort', stop)
  socket.write('zIDSESSION\0zPING\0')
  try {
    return await ended.promise
  } finally {
    clearInterval(ping)
    signal.removeEventListener('abort', stop)
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(done, ms)
    timer.unref()
    signal.addEventListener('abort', done)
    function done(): void {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
  })
}
