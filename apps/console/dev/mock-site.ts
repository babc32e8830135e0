import type { PersonView, WorkspaceDefinition } from '#core/api/admin.ts'
import type { PersonEvent, SessionView, WorkspaceView } from '#core/api/person.ts'
import { MockCopies } from './mock-copies.ts'
import * as data from './mock-data.ts'
import type { MockHost } from './mock-host.ts'
import { MockImages } from './mock-images.ts'

/** What goes wrong, or is empty, for now. */
export interface Mood {
  readonly busy?: boolean
  readonly empty?: boolean
  readonly needsSetup?: boolean
  /** Gateways drop what they carry and take nothing. */
  readonly cut?: boolean
  /** A disk of this person was just taken back from an endpoint. */
  readonly taken?: boolean
  /** The host has forgotten every channel, as after a restart. */
  readonly restarted?: boolean
  /** Sent to viewers over the channel. */
  readonly notice?: unknown
}

export interface Answer {
  readonly status: number
  readonly body?: unknown
}

type Body = Readonly<Record<string, never>>

const ok = (body?: unknown): Answer => ({ status: 200, body })
export const failed = (status: number, code: string, message: string, more: object = {}): Answer => ({
  status,
  body: { code, message, ...more },
})

/** One site in memory. */
export class MockSite {
  readonly #host: MockHost
  readonly #listeners = new Set<(line: string) => void>()
  readonly #people: PersonView[] = [...data.people]
  readonly #hosts = data.hosts.map((each) => ({ ...each }))
  readonly #definitions = new Map<string, WorkspaceDefinition>(
    data.definitions.map((each) => [each.id, each]),
  )
  readonly #sessions: SessionView[] = []
  readonly #images = new MockImages()
  readonly #copies = new MockCopies()
  #zones = [...data.zones]
  #policy = data.policyText
  #login = ''
  #mood: Mood = {}

  constructor(host: MockHost) {
    this.#host = host
  }

  setMood(mood: Mood): void {
    this.#mood = mood
    this.#host.cut(mood.cut === true)
    if (mood.restarted === true) this.#host.restart()
    if (mood.notice !== undefined) this.#host.notify(mood.notice)
    this.#tell({ kind: 'workspaces' })
  }

  /** @returns stops listening */
  subscribe(listener: (line: string) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  async answer(method: string, path: string, body: Body, query: URLSearchParams): Promise<Answer> {
    const needsSetup = this.#mood.needsSetup === true
    if (path === '/site') {
      return ok({ name: 'Riverside Hospital', siteId: 'mock', version: '0.1.0', needsSetup })
    }
    if (path === '/web-sessions') return this.#signIn(body)
    if (this.#login === '') return failed(401, 'NOT_SIGNED_IN', 'you are not signed in')
    if (this.#mood.busy === true) return failed(503, 'SITE_BUSY', 'the site is busy', { retryAfter: 2 })
    if (path === '/web-sessions/current') this.#login = ''
    if (path === '/me') return ok(data.meOf(this.#login))
    if (path === '/workspaces') return ok({ workspaces: this.#mine() })
    if (path === '/launches') return this.#launch(body)
    if (path === '/sessions') return ok({ sessions: [...this.#sessions, ...this.#taken()] })
    if (path === '/explain') return ok({ decision: data.permitted([data.copyingOut]), lines: [] })
    const aboutImages = this.#images.answer(method, path, body, query, this.#mood.empty === true)
    if (aboutImages !== undefined) return aboutImages
    const aboutData = this.#copies.answer(method, path, body, query, this.#mood.empty === true)
    if (aboutData !== undefined) return aboutData
    const session = /^\/sessions\/([^/]+)\/?(.*)$/.exec(path)
    if (session !== null) return this.#session(method, session[1] ?? '', session[2] ?? '', body)
    const [, area, topic = '', id = '', detail] = path.split('/')
    if (area !== 'admin') return ok()
    if (detail === 'deletion') return ok(data.deletionOf(topic === 'people'))
    return method === 'GET' ? this.#look(topic, id, query) : this.#change(`${method} ${topic}`, id, body)
  }

  #signIn(body: Body): Answer {
    if (body['password'] === 'wrong') return failed(401, 'SIGN_IN_REFUSED', 'User name or password is wrong.')
    this.#login = body['login'] ?? ''
    return ok()
  }

  #mine(): readonly WorkspaceView[] {
    if (this.#mood.empty === true) return []
    return data.workspaces.slice(0, this.#login === 'omar' ? 1 : 4).map((workspace) => {
      const running = this.#sessions.find((session) => session.workspace.id === workspace.id)
      return running === undefined ? workspace : { ...workspace, sessionId: running.id }
    })
  }

  #taken(): readonly SessionView[] {
    const [workspace] = data.workspaces
    if (this.#mood.taken !== true || workspace === undefined) return []
    return [data.takenSession(data.sessionOf(90, workspace, data.meOf(this.#login)))]
  }

  async #launch(body: Body): Promise<Answer> {
    const workspace = this.#mine().find((each) => each.id === body['workspaceId'])
    if (workspace === undefined) return failed(404, 'NOT_FOUND', 'there is no such workspace')
    const { decision } = workspace
    if (decision.outcome === undefined) {
      return failed(403, 'LAUNCH_REFUSED', 'the policy refuses it', { decision })
    }
    const session = data.sessionOf(this.#sessions.length, workspace, data.meOf(this.#login))
    this.#sessions.push(session)
    return ok({ decision, delivery: await this.#host.delivery(session, body['clientKey'] ?? '') })
  }

  async #session(method: string, id: string, rest: string, body: Body): Promise<Answer> {
    const session = this.#sessions.find((each) => each.id === id)
    if (method === 'DELETE' && this.#images.endSession(id)) return ok()
    if (session === undefined) return failed(404, 'NOT_FOUND', 'there is no such session')
    if (rest === 'tickets') {
      return ok({ delivery: await this.#host.delivery(session, body['clientKey'] ?? '') })
    }
    if (rest === 'routes') return ok({ routes: this.#host.routes() })
    if (method === 'GET') return ok(session)
    this.#sessions.splice(this.#sessions.indexOf(session), 1)
    const end = { code: 'SESSION_CLOSED', reason: 'You ended it', unlocks: [] }
    this.#tell({ kind: 'session', session: { ...session, state: 'ended', end } })
    return ok(session)
  }

  #look(topic: string, id: string, query: URLSearchParams): Answer {
    const full = this.#mood.empty !== true
    const others = data.workspaces
      .slice(0, 3)
      .map((each, at) => data.sessionOf(20 + at, each, data.meOf('omar')))
    switch (topic) {
      case 'sessions': {
        const { rows, found, ...next } = data.pageOf(full ? [...this.#sessions, ...others] : [], query)
        return ok({ sessions: rows, count: found.length, ...next })
      }
      case 'hosts':
        return ok({ hosts: full ? this.#hosts : [], gateways: full ? data.gateways : [] })
      case 'decisions':
        return ok({ decisions: full ? data.decisions() : [] })
      case 'people':
        return ok(id === '' ? this.#peopleLike(query) : (this.#people.find((each) => each.id === id) ?? {}))
      case 'policy':
        return ok({
          text: this.#policy,
          digest: data.policyDigest,
          activatedAt: data.soon(-300),
          activatedBy: 'ada',
        })
      case 'zones':
        return ok({ zones: this.#zones })
      default:
        return ok(
          id === '' ? { workspaces: full ? [...this.#definitions.values()] : [] } : this.#definitions.get(id),
        )
    }
  }

  #peopleLike(query: URLSearchParams): object {
    const { rows, found, ...next } = data.pageOf(this.#people, query)
    const groups = [...new Set(this.#people.flatMap((person) => person.groups))]
    return {
      people: rows,
      count: found.length,
      groups,
      groupsThatCount: ['admins', 'auditors', 'employees'],
      ...next,
    }
  }

  #change(what: string, id: string, body: Body): Answer {
    switch (what) {
      case 'POST hosts':
        return ok(Object.assign(this.#hosts.find((each) => each.id === id) ?? {}, body))
      case 'POST agents':
        return ok(this.#images.revoke(id))
      case 'POST people':
        return ok(
          this.#people.push({
            ...(body as object),
            id: data.id(9),
            disabled: false,
          } as unknown as PersonView),
        )
      case 'PATCH people':
        return ok(Object.assign(this.#people.find((each) => each.id === id) ?? {}, body))
      case 'DELETE people':
        this.#people.splice(
          this.#people.findIndex((each) => each.id === id),
          1,
        )
        return ok(data.deletionOf(true))
      case 'DELETE workspaces':
        this.#definitions.delete(id)
        return ok(data.deletionOf(false))
      case 'PUT policy':
        if (String(body['text']).includes('permitt')) {
          return failed(400, 'POLICY_SYNTAX', 'unexpected token `permitt` at line 3', {
            remedy: 'Expected `permit` or `forbid`.',
          })
        }
        this.#policy = body['text'] ?? ''
        return ok()
      case 'PUT zones':
        this.#zones = body['zones'] ?? []
        return ok()
      case 'PUT workspaces':
        this.#definitions.set(id, body as unknown as WorkspaceDefinition)
        return ok()
      default:
        return ok({ token: 'tc1-4Yk9sZ0q-9mPw2vXn7bLr3tQe8uHs5dJf', expiresAt: data.soon(15) })
    }
  }

  #tell(event: PersonEvent): void {
    for (const listener of this.#listeners) listener(`data: ${JSON.stringify(event)}\n\n`)
  }
}
