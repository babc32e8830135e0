import { isIP } from 'node:net'
import {
  type AgentRow,
  agentsCalled,
  listWorkspaces,
  liveSessions,
  personByLogin,
  type SessionDetail,
} from '#adapters/store-postgres/index.ts'
import type { WorkspaceDefinition } from '#core/api/admin.ts'
import type { Me, WorkspaceView } from '#core/api/person.ts'
import type { DecisionView } from '#core/api/words.ts'
import { explainDecision } from '#core/policy/index.ts'
import { claimVocabulary, isClaimName, placeOf } from '#core/trust/index.ts'
import { endpointBeside } from '../endpoints/endpoint-beside.ts'
import { isAdmin, isAuditor, type SignedIn } from '../people/signed-in.ts'
import type { Site } from '../site.ts'
import { nobodyCalled, notFound, SiteError } from '../site-error.ts'
import { contextOf, decideWorkspace, isThere, readAvailability, workspaceAsked } from './deciding.ts'
import { type Rules, readRules } from './rules.ts'

/** Decisions that are shown and not made: nothing is delivered on them, so they are not in the audit log. */

/** What the site holds about the caller's situation, and what each claim is worth. */
export async function whatIsKnown(site: Site, caller: SignedIn): Promise<Me> {
  const rules = await readRules(site.store.db)
  const { person } = caller
  const context = await contextOf(site, rules, { ...caller.circumstances, evidence: [] })
  return {
    id: person.id,
    login: person.login,
    name: person.name,
    groups: person.groups,
    admin: isAdmin(caller),
    auditor: isAuditor(caller),
    network: {
      address: caller.circumstances.address,
      zone: context.zone.name,
      kind: context.zone.kind,
      ...(context.zoneReason === undefined ? {} : { reason: context.zoneReason }),
    },
    claims: Object.entries(context.claims).map(([name, { value, source, ageSec }]) => ({
      name,
      label: isClaimName(name) ? claimVocabulary[name].label : name,
      value,
      source,
      ageSec,
    })),
  }
}

/** Every workspace that the person could have, now or after a change they can make. */
export async function listWorkspacesFor(site: Site, caller: SignedIn): Promise<readonly WorkspaceView[]> {
  const [workspaces, shown] = await Promise.all([listWorkspaces(site.store.db), portalOf(site, caller)])
  const views = workspaces.map(async (workspace) => {
    const { isOn, decision, launched, session, atDevice } = await shown(workspace)
    if (!isOn) return []
    const { id, name, description, program, icon, disk } = workspace
    return [
      {
        id,
        name,
        description,
        kind: program.kind,
        icon,
        decision,
        ...(disk && { image: disk.image }),
        // What runs on an endpoint is come back to on it, by its agent.
        ...(session === undefined || session.host_id === null || decision.outcome === undefined
          ? {}
          : { sessionId: session.id }),
        ...(atDevice && { here: atDevice }),
        ...betterThan(session, workspace, atDevice?.decision ?? launched),
      },
    ]
  })
  return (await Promise.all(views)).flat()
}

/** What is not on somebody's portal does not exist for them, by whatever way they ask. */
export async function isOnPortal(
  site: Site,
  caller: SignedIn,
  workspace: WorkspaceDefinition,
): Promise<boolean> {
  if (mayLookAround(caller)) return isThere(workspace)
  const shown = await portalOf(site, caller)
  return (await shown(workspace)).isOn
}

/** Whoever is permitted a mode hears why it cannot be delivered now, also of what is not on their portal. @param decision the caller's own */
export async function mayHearOf(
  site: Site,
  caller: SignedIn,
  workspace: WorkspaceDefinition,
  { refused }: DecisionView,
): Promise<boolean> {
  const isPermitted = isThere(workspace) && refused.some(({ code }) => !code.startsWith('POLICY_'))
  return isPermitted || (await isOnPortal(site, caller, workspace))
}

/** What a person's portal shows of each workspace, and whether it shows it. */
async function portalOf(site: Site, { person, circumstances, webSession }: SignedIn) {
  const { db } = site.store
  const [rules, availability, sessions] = await Promise.all([
    readRules(db),
    readAvailability(site, circumstances.endpoint),
    liveSessions(db, { personId: person.id }),
  ])
  const asked = { ...circumstances, evidence: [] }
  const [context, runningContext] = await Promise.all([
    contextOf(site, rules, asked),
    contextOf(site, rules, asked, { isRunning: true }),
  ])
  const here = await decisionsHere(site, rules, circumstances, webSession.id)
  return async (workspace: WorkspaceDefinition) => {
    const session = sessions.find((one) => one.workspace_id === workspace.id && one.state !== 'ending')
    const launched = decideWorkspace(rules, context, workspace, await availability(workspace))
    // What runs needs no new room, and is come back to in its own mode.
    const decision =
      session === undefined || session.host_id === null
        ? launched
        : afterReturn(
            launched,
            decideWorkspace(rules, runningContext, { ...workspace, modes: [session.mode] }, () => undefined),
          )
    const atDevice = await here?.(workspace)
    const isOffered = isWithinReach(decision) || (atDevice !== undefined && isWithinReach(atDevice.decision))
    return { isOn: session !== undefined || isOffered, decision, launched, session, atDevice }
  }
}

/** What coming back to a session would get; what it could have instead is refused as a launch would be. */
function afterReturn(launched: DecisionView, returned: DecisionView): DecisionView {
  if (returned.outcome === undefined) return returned
  const { mode } = returned.outcome
  return { ...returned, refused: launched.refused.filter((refusal) => refusal.mode !== mode) }
}

/** The way back up: what a launch would be given now, when that stands before what runs in the data centre. */
function betterThan(
  session: SessionDetail | undefined,
  { modes }: WorkspaceDefinition,
  { outcome }: DecisionView,
): Pick<WorkspaceView, 'better'> {
  if (session === undefined || session.host_id === null || outcome === undefined) return {}
  if (modes.indexOf(outcome.mode) >= modes.indexOf(session.mode)) return {}
  const where = placeOf[outcome.mode] === 'endpoint' ? 'on your device' : 'in another way'
  return { better: { mode: outcome.mode, reason: `What is needed to run it ${where} is there now` } }
}

/** What the endpoint beside a browser would be given, for each workspace that can run there. Shown, never delivered on. */
async function decisionsHere(
  site: Site,
  rules: Rules,
  circumstances: SignedIn['circumstances'],
  webSessionId: string,
): Promise<((workspace: WorkspaceDefinition) => Promise<WorkspaceView['here']>) | undefined> {
  // A request that an endpoint has co-signed is decided for it anyway.
  const endpoint = circumstances.endpoint === undefined ? await endpointBeside(site, webSessionId) : undefined
  if (endpoint === undefined) return undefined
  const { id, name } = endpoint
  const available = await readAvailability(site, endpoint)
  const context = await contextOf(site, rules, { ...circumstances, endpoint, evidence: [] })
  return async (workspace) => {
    if (!workspace.modes.some((mode) => placeOf[mode] === 'endpoint')) return undefined
    const decision = decideWorkspace(rules, context, workspace, await available(workspace))
    return { endpoint: { id, name }, decision }
  }
}

/** A workspace that no policy would ever give this person is not theirs to see. */
function isWithinReach({ outcome, refused }: DecisionView): boolean {
  return (
    outcome !== undefined ||
    refused.some(
      ({ code, deliverable, unlocks }) => (deliverable && unlocks.length > 0) || code === 'NO_CAPACITY',
    )
  )
}

/**
 * The decision that a launch would get: one's own, or anybody's for admins and auditors.
 *
 * @throws {SiteError} NOT_FOUND, NOT_ALLOWED, CONFLICT when several devices have that name
 */
export async function explain(
  site: Site,
  caller: SignedIn,
  query: {
    readonly workspace: string
    readonly user?: string | undefined
    readonly endpoint?: string | undefined
    readonly from?: string | undefined
  },
): Promise<{ decision: DecisionView; lines: string[] }> {
  const [rules, workspace, circumstances] = await Promise.all([
    readRules(site.store.db),
    workspaceAsked(site, query.workspace),
    circumstancesFor(site, caller, query),
  ])
  const availability = await readAvailability(site, circumstances.endpoint)
  const context = await contextOf(site, rules, { ...circumstances, evidence: [] })
  const decision = decideWorkspace(rules, context, workspace, await availability(workspace))
  if (!(await mayHearOf(site, caller, workspace, decision))) throw notFound('workspace')
  return { decision, lines: [...explainDecision(decision, { workspace: workspace.name, context })] }
}

async function circumstancesFor(
  site: Site,
  caller: SignedIn,
  query: {
    readonly user?: string | undefined
    readonly endpoint?: string | undefined
    readonly from?: string | undefined
  },
): Promise<SignedIn['circumstances']> {
  const { circumstances } = caller
  if (query.user === undefined && query.from === undefined && query.endpoint === undefined)
    return circumstances
  if (!mayLookAround(caller)) {
    throw new SiteError(
      'NOT_ALLOWED',
      'only admins and auditors may ask about other people, devices and addresses',
      { remedy: 'Ask without --user, --endpoint and --from.' },
    )
  }
  if (query.from !== undefined && isIP(query.from) === 0) {
    throw new SiteError('BAD_REQUEST', `expected an IP address, got ${JSON.stringify(query.from)}`, {
      remedy: 'Name one such as 192.0.2.7.',
      field: 'from',
    })
  }
  const person =
    query.user === undefined ? circumstances.person : await personByLogin(site.store.db, query.user)
  if (person === undefined) throw nobodyCalled(query.user ?? '', 'user')
  return {
    person,
    signedInAt: site.now(),
    address: query.from ?? circumstances.address,
    endpoint: query.endpoint === undefined ? undefined : await endpointCalled(site, query.endpoint),
  }
}

/** One of that id or, among those that are enrolled now before those that were, of that name. */
async function endpointCalled(site: Site, nameOrId: string): Promise<AgentRow> {
  const called = await agentsCalled(site.store.db, 'endpoint', nameOrId)
  const [found, ...others] =
    [
      called.filter(({ id }) => id === nameOrId),
      called.filter((endpoint) => endpoint.revoked_at === null),
      called,
    ].find((some) => some.length > 0) ?? []
  if (found === undefined) throw notFound('endpoint')
  if (others.length > 0)
    throw new SiteError('CONFLICT', `${others.length + 1} devices are called ${nameOrId}`, {
      remedy: `Name it by its id: ${[found, ...others].map(({ id }) => id).join(' or ')}.`,
    })
  return found
}

function mayLookAround(caller: SignedIn): boolean {
  return isAdmin(caller) || isAuditor(caller)
}
