import { type ReactElement, useState } from 'react'
import type { SessionView, WorkspaceView } from '#core/api/person.ts'
import { api } from '../api/api.ts'
import { Confirm } from '../ui/dialog.tsx'
import { Icon } from '../ui/icons.tsx'
import { Problem } from '../ui/message.tsx'
import { Link } from '../ui/router.tsx'
import { useAction } from '../ui/use-action.ts'
import { useNow } from '../ui/use-resource.ts'
import { ago, sessionStateName } from '../words.ts'
import type { Device } from './use-device.ts'

/** Sessions of this person that run now, wherever they were opened. */
export function RunningSessions(props: {
  readonly sessions: readonly SessionView[]
  /** They say which of these may be come back to from here. */
  readonly workspaces: readonly WorkspaceView[]
  readonly device: Device
  readonly onReconnect: (id: string) => void
  readonly onChange: () => void
}): ReactElement {
  const now = useNow()
  const [ending, setEnding] = useState<SessionView>()
  const { busy, error, run } = useAction()

  function end(session: SessionView): void {
    setEnding(undefined)
    run(async () => {
      await api.endSession(session.id)
      props.onChange()
    })
  }

  return (
    <section className="running" aria-labelledby="running-title">
      <h2 id="running-title">Running now</h2>
      {error !== undefined && <Problem error={error} />}
      <ul>
        {props.sessions.map((session) => (
          <li key={session.id} aria-label={session.workspace.name}>
            <span className={session.connected ? 'dot dot-on' : 'dot'} aria-hidden="true" />
            <span className="grow">
              <strong>{session.workspace.name}</strong>
              <span className="muted">
                {sessionStateName(session)} · started {ago(session.startedAt, now)}
                {session.endpoint !== undefined && ` · on ${session.endpoint.name}`}
                {isOutOfReach(session, props.workspaces) && ' · not permitted from here now'}
              </span>
            </span>
            <span className="row-actions">
              {props.workspaces.some(({ sessionId }) => sessionId === session.id) && (
                <button
                  type="button"
                  className="button button-small"
                  onClick={() => props.onReconnect(session.id)}
                >
                  Reconnect
                </button>
              )}
              {hasScreenHere(session, props.device) && (
                <Link href={`/device/${session.id}`} className="button button-small">
                  Show
                </Link>
              )}
              <button
                type="button"
                className="button button-small button-quiet"
                disabled={busy}
                onClick={() => setEnding(session)}
              >
                <Icon name="power" />
                End
              </button>
            </span>
          </li>
        ))}
      </ul>
      {ending !== undefined && (
        <Confirm
          title={`End ${ending.workspace.name}?`}
          action="End session"
          onConfirm={() => end(ending)}
          onClose={() => setEnding(undefined)}
        >
          <p>Its programs close. What was not saved is lost.</p>
        </Confirm>
      )}
    </section>
  )
}

/** Whether it runs in the data centre, and the site would not let this person come back to it as they are here. */
function isOutOfReach({ id, endpoint, state }: SessionView, workspaces: readonly WorkspaceView[]): boolean {
  return endpoint === undefined && state !== 'ending' && !workspaces.some(({ sessionId }) => sessionId === id)
}

/** Whether it runs in a virtual machine of the device that this page is shown on, which shows its screen here, too. */
function hasScreenHere({ id }: SessionView, { status }: Device): boolean {
  return (
    status?.launches.some((one) => one.id === id && one.mode === 'local-vm' && one.state === 'open') === true
  )
}
