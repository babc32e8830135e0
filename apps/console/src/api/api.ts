import { z } from 'zod'
import type {
  personCreate,
  personPatch,
  tokenRequest,
  WorkspaceDefinition,
  ZoneDefinition,
} from '#core/api/admin.ts'
import {
  decisionRecord,
  deletionView,
  gatewayView,
  hostView,
  peopleAnswer,
  policyView,
  tokenAnswer,
  workspaceDefinition,
  zoneDefinition,
} from '#core/api/admin.ts'
import { type HandoffRequest, handoffAnswer } from '#core/api/handoff.ts'
import type { launchRequest, setupRequest, signInRequest, ticketRequest } from '#core/api/person.ts'
import {
  explainAnswer,
  hostedDelivery,
  hostedLaunchAnswer,
  me,
  route,
  sessionsAnswer,
  sessionView,
  siteView,
  workspaceView,
} from '#core/api/person.ts'
import { command, request, requestTagged } from './client.ts'

/** Every call this client makes, as the site serves them under `/api/v1`. */
export const api = {
  site: () => request({ method: 'GET', path: '/site', open: true }, siteView),
  setUp: (body: z.infer<typeof setupRequest>) =>
    command({ method: 'POST', path: '/setup', body, open: true }),
  signIn: (body: z.infer<typeof signInRequest>) =>
    command({ method: 'POST', path: '/web-sessions', body, open: true }),
  signOut: () => command({ method: 'DELETE', path: '/web-sessions/current' }),
  me: () => request({ method: 'GET', path: '/me' }, me),

  workspaces: () =>
    request({ method: 'GET', path: '/workspaces' }, z.strictObject({ workspaces: z.array(workspaceView) })),
  launch: (body: z.infer<typeof launchRequest>, signal?: AbortSignal) =>
    request({ method: 'POST', path: '/launches', body, patient: true, signal }, hostedLaunchAnswer),
  handoff: (body: HandoffRequest) => request({ method: 'POST', path: '/handoffs', body }, handoffAnswer),
  sessions: () => request({ method: 'GET', path: '/sessions' }, sessionList),
  session: (id: string) => request({ method: 'GET', path: `/sessions/${id}` }, sessionView),
  ticket: (id: string, body: z.infer<typeof ticketRequest>, signal?: AbortSignal) =>
    request(
      { method: 'POST', path: `/sessions/${id}/tickets`, body, patient: true, signal },
      z.strictObject({ delivery: hostedDelivery }),
    ),
  routes: (id: string) =>
    request(
      { method: 'GET', path: `/sessions/${id}/routes` },
      z.strictObject({ routes: z.array(route).min(1) }),
    ),
  endSession: (id: string) => command({ method: 'DELETE', path: `/sessions/${id}` }),
  explain: (query: Readonly<Record<string, string>>) =>
    request({ method: 'GET', path: `/explain?${new URLSearchParams(query)}` }, explainAnswer),
}

/** Calls for admins and auditors. */
export const adminApi = {
  sessions: (query: string) => request({ method: 'GET', path: `/admin/sessions?${query}` }, sessionsAnswer),
  hosts: () =>
    request(
      { method: 'GET', path: '/admin/hosts' },
      z.strictObject({ hosts: z.array(hostView), gateways: z.array(gatewayView) }),
    ),
  drain: (id: string, draining: boolean) =>
    command({ method: 'POST', path: `/admin/hosts/${id}/drain`, body: { draining } }),
  enrolmentToken: (body: z.infer<typeof tokenRequest>) =>
    request({ method: 'POST', path: '/admin/enrolment-tokens', body }, tokenAnswer),
  revoke: (id: string) => command({ method: 'POST', path: `/admin/agents/${id}/revoke`, body: {} }),

  /** Newest first; `before` is the id of the last record that is already known. */
  decisions: (limit: number, before?: string) => {
    const query = new URLSearchParams({ limit: String(limit), ...(before === undefined ? {} : { before }) })
    return request(
      { method: 'GET', path: `/admin/decisions?${query}` },
      z.strictObject({ decisions: z.array(decisionRecord) }),
    )
  },

  people: (query: string) => request({ method: 'GET', path: `/admin/people?${query}` }, peopleAnswer),
  addPerson: (body: z.infer<typeof personCreate>) => command({ method: 'POST', path: '/admin/people', body }),
  changePerson: (id: string, body: z.infer<typeof personPatch>) =>
    command({ method: 'PATCH', path: `/admin/people/${id}`, body }),
  /** What deleting would lead to. @param path of a person or workspace */
  deletion: async (path: string) => {
    const [{ tag }, outlook] = await Promise.all([
      requestTagged({ method: 'GET', path }, z.looseObject({})),
      request({ method: 'GET', path: `${path}/deletion` }, deletionView),
    ])
    return { ...outlook, tag }
  },
  remove: (path: string, data: 'keep' | 'discard', basis: string) =>
    command({ method: 'DELETE', path: `${path}?data=${data}`, basis }),

  policy: () => requestTagged({ method: 'GET', path: '/admin/policy' }, policyView),
  activatePolicy: (text: string, basis: string) =>
    command({ method: 'PUT', path: '/admin/policy', body: { text }, basis }),
  zones: () =>
    requestTagged(
      { method: 'GET', path: '/admin/zones' },
      z.strictObject({ zones: z.array(zoneDefinition) }),
    ),
  replaceZones: (zones: readonly ZoneDefinition[], basis: string) =>
    command({ method: 'PUT', path: '/admin/zones', body: { zones }, basis }),
  workspaces: () =>
    request(
      { method: 'GET', path: '/admin/workspaces' },
      z.strictObject({ workspaces: z.array(workspaceDefinition) }),
    ),
  workspace: (id: string) =>
    requestTagged({ method: 'GET', path: `/admin/workspaces/${id}` }, workspaceDefinition),
  /** @param basis tag of the definition that was changed, or `new` */
  defineWorkspace: (definition: WorkspaceDefinition, basis: string) =>
    command({ method: 'PUT', path: `/admin/workspaces/${definition.id}`, body: definition, basis }),
}

const sessionList = z.strictObject({ sessions: z.array(sessionView) })
