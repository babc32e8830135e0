import { type ReactElement, useState } from 'react'
import type { EndpointView } from '#core/api/lease.ts'
import { endpointsApi } from '../api/endpoints-api.ts'
import { usePerson } from '../person-context.ts'
import { DataTable } from '../ui/data-table.tsx'
import { Icon } from '../ui/icons.tsx'
import { Empty, Problem, Waiting } from '../ui/message.tsx'
import { PageSearch, PageTurns, usePages } from '../ui/paged-list.tsx'
import { useInterval, useNow } from '../ui/use-resource.ts'
import { ago, leaseStateNames } from '../words.ts'
import { AddMachine } from './add-machine.tsx'
import { TimelineButton } from './data/timeline-dialog.tsx'
import { AcceptBoot, ChangeOwner, KnownBy } from './device-identity.tsx'
import { EndpointTrust } from './endpoint-trust.tsx'
import { MachineState, timeLeft } from './machine-state.tsx'
import { PageHead } from './page-head.tsx'
import { Revoke } from './revoke.tsx'
import { WaitingEndpoints } from './waiting-endpoints.tsx'

/** Enrolled machines that people sit at, and what they hold. */
export function EndpointsPage(): ReactElement {
  const pages = usePages(endpointsApi.list)
  const { data, error, reload } = pages
  const [adding, setAdding] = useState(false)
  useInterval(reload, 5000)
  const { me } = usePerson()
  const isEmpty = data?.count.all === 0 && pages.search === ''
  const add = me.admin && (
    <button type="button" className="button button-primary" onClick={() => setAdding(true)}>
      <Icon name="plus" />
      Add an endpoint
    </button>
  )
  return (
    <>
      <PageHead title="Endpoints" count={data?.count.all} action={data !== undefined && !isEmpty && add}>
        Machines that people sit at and that prove who they are with a key of their own. Only they can be
        trusted with data.
      </PageHead>
      {me.admin && <WaitingEndpoints onApproved={reload} />}
      {data === undefined ? (
        error === undefined ? (
          <Waiting label="Loading endpoints" />
        ) : (
          <Problem error={error} retry={reload} />
        )
      ) : isEmpty ? (
        <Empty title="No endpoint has joined yet" action={add}>
          Any browser can be used for what is hosted. A machine that is to hold data, such as a streamed disk,
          joins with one command.
        </Empty>
      ) : (
        <>
          <PageSearch
            label="Search by name, group or owner"
            pages={pages}
            shown={data.endpoints.length}
            count={data.count.all}
            more={`${data.count.online.toLocaleString()} connected`}
          />
          {data.endpoints.length > 0 && <EndpointTable endpoints={data.endpoints} onChange={reload} />}
          <PageTurns pages={pages} />
        </>
      )}
      {adding && <AddMachine kind="endpoint" onClose={() => setAdding(false)} />}
    </>
  )
}

function EndpointTable(props: {
  readonly endpoints: readonly EndpointView[]
  readonly onChange: () => void
}): ReactElement {
  const { me } = usePerson()
  const now = useNow()
  return (
    <DataTable
      label="Endpoints"
      rows={props.endpoints.map((endpoint) => ({
        key: endpoint.id,
        off: endpoint.revoked,
        actions: (
          <>
            <TimelineButton about={{ topic: 'endpoint', id: endpoint.id, name: endpoint.name }} />
            {me.admin && !endpoint.revoked && <Deeds endpoint={endpoint} onChange={props.onChange} />}
          </>
        ),
        cells: {
          Endpoint: endpoint.name,
          State: (
            <>
              <MachineState machine={endpoint} />
              {!endpoint.online && <span className="muted small"> {lastSeen(endpoint, now)}</span>}
            </>
          ),
          'Known by': <KnownBy machine={endpoint} />,
          Trust: <EndpointTrust machine={endpoint} now={now} onChange={props.onChange} />,
          Owner: endpoint.owner?.name ?? <span className="muted">Nobody</span>,
          Group: endpoint.group,
          Holds: <Holds leases={endpoint.leases} />,
          Certificate: endpoint.revoked ? 'withdrawn' : timeLeft(endpoint.certificateExpiresAt, now),
        },
      }))}
    />
  )
}

/** What an admin may do to an endpoint. */
function Deeds({
  endpoint,
  onChange,
}: {
  readonly endpoint: EndpointView
  readonly onChange: () => void
}): ReactElement {
  return (
    <>
      {endpoint.boot?.state === 'changed' && <AcceptBoot machine={endpoint} onChange={onChange} />}
      <ChangeOwner machine={endpoint} onChange={onChange} />
      <Revoke machine={endpoint} onChange={onChange} />
    </>
  )
}

function lastSeen({ lastSeenAt }: Pick<EndpointView, 'lastSeenAt'>, now: number): string {
  return lastSeenAt === undefined ? 'never seen' : `seen ${ago(lastSeenAt, now)}`
}

function Holds({ leases }: Pick<EndpointView, 'leases'>): ReactElement {
  if (leases.length === 0) return <span className="muted">Nothing</span>
  return (
    <ul>
      {leases.map((lease) => (
        <li key={lease.id}>
          <span className="mono">
            {lease.image}:{lease.version}
          </span>{' '}
          <span className="muted small">
            for {lease.person.name}
            {lease.state !== 'held' && `, ${leaseStateNames[lease.state].toLowerCase()}`}
          </span>
        </li>
      ))}
    </ul>
  )
}
