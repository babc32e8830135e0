import { type ReactElement, useState } from 'react'
import type { SessionView } from '#core/api/person.ts'
import { adminApi, api } from '../api/api.ts'
import { usePerson } from '../person-context.ts'
import { Confirm } from '../ui/dialog.tsx'
import { Empty, Problem, Waiting } from '../ui/message.tsx'
import { useAction } from '../ui/use-action.ts'
import { useInterval, useResource } from '../ui/use-resource.ts'
import { ago, modeNames, restrictionName, sessionStateName, span } from '../words.ts'
import { PageHead } from './page-head.tsx'

/** Everything that runs now. */
export function AdminSessionsPage(): ReactElement {
  const { data, error, reload } = useResource(adminApi.sessions)
  const [ending, setEnding] = useState<SessionView>()
  const action = useAction()
  useInterval(reload, 5000)

  function end(session: SessionView): void {
    setEnding(undefined)
    action.run(async () => {
      await api.endSession(session.id)
      reload()
    })
  }

  const sessions = data?.sessions
  return (
    <>
      <PageHead title="Sessions" count={sessions?.length}>
        What people have open now, on which host, and what their decision withholds.
      </PageHead>
      {(action.error ?? (sessions === undefined ? error : undefined)) !== undefined && (
        <Problem error={action.error ?? error} retry={reload} />
      )}
      {sessions === undefined ? (
        error === undefined && <Waiting label="Loading sessions" />
      ) : sessions.length === 0 ? (
        <Empty title="Nobody is working right now">
          Sessions appear here the moment someone opens a workspace.
        </Empty>
      ) : (
        <SessionTable sessions={sessions} onEnd={setEnding} />
      )}
      {ending !== undefined && (
        <Confirm
          title={`End ${ending.workspace.name} of ${ending.person.name}?`}
          action="End session"
          onConfirm={() => end(ending)}
          onClose={() => setEnding(undefined)}
        >
          <p>Its programs close. What was not saved is lost. The audit log keeps that you ended it.</p>
        </Confirm>
      )}
    </>
  )
}

function SessionTable(props: {
  readonly sessions: readonly SessionView[]
  readonly onEnd: (session: SessionView) => void
}): ReactElement {
  const { me } = usePerson()
  const now = Date.now()
  return (
    <div className="table-box" tabIndex={0} role="region" aria-label="Live sessions">
      <table>
        <thead>
          <tr>
            <th scope="col">Person</th>
            <th scope="col">Workspace</th>
            <th scope="col">State</th>
            <th scope="col">Delivered</th>
            <th scope="col">Restricted</th>
            <th scope="col">Started</th>
            <th scope="col">Ends in</th>
            {me.admin && <th scope="col" aria-label="Actions" />}
          </tr>
        </thead>
        <tbody>
          {props.sessions.map((session) => (
            <tr key={session.id}>
              <th scope="row">
                {session.person.name} <span className="muted small">{session.person.login}</span>
              </th>
              <td>{session.workspace.name}</td>
              <td>
                <span className={session.connected ? 'dot dot-on' : 'dot'} aria-hidden="true" />
                {sessionStateName(session)}
              </td>
              <td>
                {modeNames[session.mode]} <span className="muted small">{session.host.name}</span>
              </td>
              <td className={session.restrictions.length === 0 ? 'muted' : ''}>
                {session.restrictions.map(restrictionName).join(', ') || 'Nothing'}
              </td>
              <td className="nowrap">{ago(session.startedAt, now)}</td>
              <td className="nowrap">
                {span(Math.max(0, Math.ceil((Date.parse(session.endsAt) - now) / 60_000)))}
              </td>
              {me.admin && (
                <td className="cell-actions">
                  <button
                    type="button"
                    className="button button-small"
                    aria-label={`End ${session.workspace.name} of ${session.person.name}`}
                    onClick={() => props.onEnd(session)}
                  >
                    End
                  </button>
                </td>
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}
