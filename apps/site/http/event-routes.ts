import type { ServerResponse } from 'node:http'
import {
  type Hint,
  isAway,
  liveSessions,
  type SessionDetail,
  sessionById,
  webSessionById,
} from '#adapters/store-postgres/index.ts'
import type { PersonEvent } from '#core/api/person.ts'
import { endpointBeside } from '../endpoints/endpoint-beside.ts'
import { sessionViewOf } from '../launches/views.ts'
import type { SignedIn } from '../people/signed-in.ts'
import type { Site } from '../site.ts'
import { type Api, callerOf } from './api.ts'
import { onDataChange } from './data-hints.ts'

const pingMs = 15_000
const maxUnreadBytes = 1024 * 1024
/** Each asks the database at every hint, so one web session cannot hold any number. */
const maxStreams = 32

/** `GET /events`: server-sent events for one signed-in page. Ends with the web session. */
export function eventRoutes(app: Api, site: Site): void {
  const open = new Map<string, Set<ServerResponse>>()
  app.get('/events', { config: { answers: 'text/event-stream' } }, async (request, reply) => {
    const caller = callerOf(request)
    // Gone while it was found out who asks: its `close` has been, and would be waited for without end.
    if (reply.raw.destroyed) {
      reply.hijack()
      return
    }
    const streams = open.get(caller.webSession.id) ?? new Set()
    open.set(caller.webSession.id, streams.add(reply.raw))
    reply.raw.once('close', () => {
      streams.delete(reply.raw)
      if (streams.size === 0) open.delete(caller.webSession.id)
    })
    // The oldest goes: it is the one whose page is most likely gone.
    const [oldest] = streams
    if (streams.size > maxStreams) oldest?.destroy()
    reply.hijack()
    const headers = reply.getHeaders() as Record<string, string>
    reply.raw.writeHead(200, { ...headers, 'content-type': 'text/event-stream' })
    reply.raw.write(': welcome\n\n')
    streamEvents(site, caller, reply.raw)
  })
}

function streamEvents(site: Site, caller: SignedIn, answer: ServerResponse): void {
  // Whatever breaks, `close` follows.
  answer.on('error', () => undefined)
  const write = (text: string): void => {
    // It may have been ended and still wait for its reader.
    if (answer.writableEnded || answer.destroyed) return
    answer.write(text)
    // A page that does not read comes back and is told everything anew.
    if (answer.writableLength > maxUnreadBytes) answer.destroy()
  }
  const send = (event: PersonEvent): void => write(`data: ${JSON.stringify(event)}\n\n`)
  const shown = new Map<string, string>()
  /** The device that this page is shown on: what it could open changes with what is known of it. */
  let beside: string | undefined
  let queue = Promise.resolve()
  const enqueue = (work: () => Promise<void>): void => {
    queue = queue.then(work).catch((error: unknown) => {
      if (!isAway(error)) site.log.error({ err: error }, 'an event could not be sent')
    })
  }
  const off = site.hints.on((hint) => {
    const isOwn = hint.topic === 'lost' || (hint.topic === 'person' && hint.id === caller.person.id)
    const isBeside = hint.topic === 'endpoint' && hint.id === beside
    if (isOwn || isBeside || isAboutRules(hint)) enqueue(async () => send({ kind: 'workspaces' }))
    if (isOwn) {
      enqueue(async () => {
        if ((await webSessionById(site.store.db, caller.webSession.id)) === undefined) {
          answer.end()
          return
        }
        beside = (await endpointBeside(site, caller.webSession.id))?.id
        await sendSessions(site, caller.person.id, shown, send)
      })
    }
  })
  const offData = onDataChange(site, caller, () => send({ kind: 'data' }))
  const ping = setInterval(() => write(': ping\n\n'), pingMs)
  enqueue(async () => {
    beside = (await endpointBeside(site, caller.webSession.id))?.id
    await sendSessions(site, caller.person.id, shown, send)
  })
  // The answer's end, not the request's, which has no body and is over at once.
  answer.once('close', () => {
    off()
    offData()
    clearInterval(ping)
  })
}

function isAboutRules({ topic }: Hint): boolean {
  return topic === 'policy' || topic === 'zones' || topic === 'workspaces'
}

/** Sends each of the person's sessions that is new, changed, or gone since last time. */
async function sendSessions(
  site: Site,
  personId: string,
  shown: Map<string, string>,
  send: (event: PersonEvent) => void,
): Promise<void> {
  const live = await liveSessions(site.store.db, { personId })
  const gone = [...shown.keys()].filter((id) => !live.some((session) => session.id === id))
  const ended = (await Promise.all(gone.map((id) => sessionById(site.store.db, id)))).filter(
    (row): row is SessionDetail => row !== undefined,
  )
  for (const row of [...live, ...ended]) {
    const session = sessionViewOf(row)
    const text = JSON.stringify(session)
    if (shown.get(row.id) === text) continue
    send({ kind: 'session', session })
    if (row.state === 'ended') shown.delete(row.id)
    else shown.set(row.id, text)
  }
}
