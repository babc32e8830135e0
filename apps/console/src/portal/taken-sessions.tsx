import type { ReactElement } from 'react'
import type { SessionView, WorkspaceView } from '#core/api/person.ts'
import { openWorkspace } from '../session/open-workspace.ts'
import { WayOut } from '../session/way-out.tsx'
import { Icon } from '../ui/icons.tsx'
import { Problem } from '../ui/message.tsx'
import { navigate } from '../ui/router.tsx'
import { useAction } from '../ui/use-action.ts'
import { modeNames, overlaySentences, sentence } from '../words.ts'

const takenCodes: ReadonlySet<string> = new Set([
  'TRUST_LOST',
  'LEASE_EXPIRED',
  'SESSION_CLOSED_BY_ADMIN',
  'SESSION_LEASE_WITHDRAWN',
  'SESSION_ENDPOINT_AWAY',
])

/** Whether what a session held on an endpoint was taken back, other than by its person. */
export function wasTaken({ endpoint, end }: SessionView): boolean {
  return endpoint !== undefined && end !== undefined && takenCodes.has(end.code)
}

/** Disks that were taken back from this person's devices: why, what would bring them back, and how work can go on. */
export function TakenSessions(props: {
  readonly sessions: readonly SessionView[]
  readonly workspaces: readonly WorkspaceView[]
  readonly onDismiss: (id: string) => void
}): ReactElement {
  return (
    <ul className="taken" aria-label="Taken back">
      {props.sessions.map((session) => (
        <Taken
          key={session.id}
          session={session}
          workspace={props.workspaces.find(({ id }) => id === session.workspace.id)}
          onDismiss={() => props.onDismiss(session.id)}
        />
      ))}
    </ul>
  )
}

function Taken(props: {
  readonly session: SessionView
  readonly workspace: WorkspaceView | undefined
  readonly onDismiss: () => void
}): ReactElement {
  const { session, workspace } = props
  const { busy, error, run } = useAction()
  const outcome = workspace?.decision.outcome
  const isHosted = outcome !== undefined && outcome.place !== 'endpoint'
  const open = () => run(async () => navigate(`/session/${await openWorkspace(session.workspace.id)}`))
  return (
    <li className="notice notice-warn">
      <Icon name="warning" />
      <div className="grow taken-text">
        <p>
          <strong>
            {session.workspace.name} was taken back from {session.endpoint?.name ?? 'its device'}.
          </strong>{' '}
          {sentence(session.end?.reason ?? '')}
        </p>
        <p className="small">{overlaySentences[session.obligations.overlay]}</p>
        {session.end !== undefined && (
          <WayOut end={session.end} opens={modeNames[session.mode].toLowerCase()} />
        )}
        {error !== undefined && <Problem error={error} />}
        <div className="row-actions">
          {isHosted && (
            <button
              type="button"
              className="button button-small button-primary"
              disabled={busy}
              onClick={open}
            >
              {busy ? 'Opening…' : 'Go on in the data centre'}
            </button>
          )}
          {session.state === 'ended' && (
            <button
              type="button"
              className="button button-small button-quiet"
              aria-label={`Dismiss the notice about ${session.workspace.name}`}
              onClick={props.onDismiss}
            >
              Dismiss
            </button>
          )}
        </div>
      </div>
    </li>
  )
}
