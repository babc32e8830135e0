import type { ReactElement } from 'react'
import type { SessionView, WorkspaceView } from '#core/api/person.ts'
import { useStepDown } from '../session/use-step-down.ts'
import { WayOut } from '../session/way-out.tsx'
import { Icon } from '../ui/icons.tsx'
import { Problem } from '../ui/message.tsx'
import { modeNames, overlaySentences, sentence } from '../words.ts'

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
  const { isOffered, open, busy, error } = useStepDown(workspace)
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
          {isOffered && (
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
