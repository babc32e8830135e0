import { type ReactElement, useState } from 'react'
import type { SessionView } from '#core/api/person.ts'
import { adminApi, api } from '../api/api.ts'
import { usePerson } from '../person-context.ts'
import { type DataRow, DataTable } from '../ui/data-table.tsx'
import { Confirm } from '../ui/dialog.tsx'
import { Empty, Problem, Waiting } from '../ui/message.tsx'
import { PageSearch, PageTurns, usePages } from '../ui/paged-list.tsx'
import { useAction } from '../ui/use-action.ts'
import { useInterval, useNow } from '../ui/use-resource.ts'
import { ago, modeNames, restrictionName, sessionStateName, span } from '../words.ts'
import { PageHead } from './page-head.tsx'

/** Everything that runs now. */
export function AdminSessionsPage(): ReactElement {
  const pages = usePages(adminApi.sessions)
  const { data, error, reload } = pages
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

  return (
    <>
      <PageHead title="Sessions" count={data?.count}>
        What people have open now, on which host, and what their decision withholds.
      </PageHead>
      {(action.error ?? (data === undefined ? error : undefined)) !== undefined && (
        <Problem error={action.error ?? error} retry={reload} />
      )}
      {data === undefined ? (
        error === undefined && <Waiting label="Loading sessions" />
      ) : data.count === 0 && pages.search === '' ? (
        <Empty title="Nobody is working right now">
          Sessions appear here the moment someone opens a workspace.
        </Empty>
      ) : (
        <>
          <PageSearch
            label="Search by person, workspace or machine"
            pages={pages}
            shown={data.sessions.length}
            count={data.count}
          />
          {data.sessions.length > 0 && <SessionTable sessions={data.sessions} onEnd={setEnding} />}
          <PageTurns pages={pages} />
        </>
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
  const now = useNow()
  return (
    <DataTable
      label="Live sessions"
      rows={props.sessions.map((session) => ({
        key: session.id,
        cells: cellsOf(session, now),
        actions: me.admin && (
          <button
            type="button"
            className="button button-small"
            aria-label={`End ${session.workspace.name} of ${session.person.name}`}
            onClick={() => props.onEnd(session)}
          >
            End
          </button>
        ),
      }))}
    />
  )
}

function cellsOf(session: SessionView, now: number): DataRow['cells'] {
  const minutesLeft = Math.ceil((Date.parse(session.endsAt) - now) / 60_000)
  return {
    Person: (
      <>
        {session.person.name} <span className="muted small">{session.person.login}</span>
      </>
    ),
    Workspace: session.workspace.name,
    State: (
      <span className="nowrap">
        <span className={session.connected ? 'dot dot-on' : 'dot'} aria-hidden="true" />
        {sessionStateName(session)}
      </span>
    ),
    Delivered: (
      <>
        {modeNames[session.mode]}{' '}
        <span className="muted small">{(session.host ?? session.endpoint)?.name}</span>
      </>
    ),
    Restricted: session.restrictions.map(restrictionName).join(', ') || (
      <span className="muted">Nothing</span>
    ),
    Started: <span className="nowrap">{ago(session.startedAt, now)}</span>,
    'Ends in': <span className="nowrap">{span(Math.max(0, minutesLeft))}</span>,
  }
}
