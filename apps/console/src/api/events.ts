import { type PersonEvent, personEvent } from '#core/api/person.ts'
import { send } from './client.ts'
import { eventLines } from './event-lines.ts'

/** A stream that says nothing for this long is dead: the site sends a comment far more often. */
const silenceMs = 45_000

/**
 * Listens to the site's events until aborted, reconnecting by itself.
 * After each (re)connection `onEvent` gets `workspaces`, for what may have been missed.
 */
export async function listen(onEvent: (event: PersonEvent) => void, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      const response = await open(signal)
      onEvent({ kind: 'workspaces' })
      await readEvents(response, onEvent, signal)
    } catch {
      // A refusal ends at the sign-in page, by the client; anything else is a broken stream: try again.
    }
    await pause(signal)
  }
}

async function open(signal: AbortSignal): Promise<Response> {
  const silent = new AbortController()
  const timer = setTimeout(() => silent.abort(), silenceMs)
  const either = AbortSignal.any([signal, silent.signal])
  return send({ method: 'GET', path: '/events', signal: either, stream: true }).finally(() =>
    clearTimeout(timer),
  )
}

async function readEvents(
  response: Response,
  onEvent: (event: PersonEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  if (response.body === null) return
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  const take = eventLines((data) => {
    const event = personEvent.safeParse(parseJson(data))
    if (event.success) onEvent(event.data)
  })
  while (!signal.aborted) {
    const timer = setTimeout(() => void reader.cancel(), silenceMs)
    const { value, done } = await reader.read().finally(() => clearTimeout(timer))
    if (done) return
    take(value)
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function pause(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, 1000 + Math.random() * 2000)
    signal.addEventListener('abort', () => {
      clearTimeout(timer)
      resolve()
    })
  })
}
