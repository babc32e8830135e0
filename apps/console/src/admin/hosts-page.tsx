import { type ReactElement, useState } from 'react'
import type { GatewayView, HostView } from '#core/api/admin.ts'
import { adminApi } from '../api/api.ts'
import { usePerson } from '../person-context.ts'
import { DataTable } from '../ui/data-table.tsx'
import { Icon } from '../ui/icons.tsx'
import { Empty, Problem, Waiting } from '../ui/message.tsx'
import { useAction } from '../ui/use-action.ts'
import { useInterval, useNow, useResource } from '../ui/use-resource.ts'
import { ago } from '../words.ts'
import { AddMachine } from './add-machine.tsx'
import { MachineState, timeLeft } from './machine-state.tsx'
import { PageHead } from './page-head.tsx'
import { Revoke } from './revoke.tsx'

/** Machines that run sessions, and gateways that lead to them. */
export function HostsPage(): ReactElement {
  const { data, error, reload } = useResource(adminApi.hosts)
  const [adding, setAdding] = useState<'host' | 'gateway'>()
  useInterval(reload, 5000)
  const { me } = usePerson()
  const add = (kind: 'host' | 'gateway') =>
    me.admin && (
      <button
        type="button"
        className={kind === 'host' ? 'button button-primary' : 'button'}
        onClick={() => setAdding(kind)}
      >
        <Icon name="plus" />
        Add a {kind}
      </button>
    )
  return (
    <>
      <PageHead
        title="Hosts"
        count={data?.hosts.length}
        action={data !== undefined && data.hosts.length > 0 && add('host')}
      >
        Hosts run sessions and dial out to the gateways. A host that drains keeps its sessions and takes no
        new ones.
      </PageHead>
      {data === undefined ? (
        error === undefined ? (
          <Waiting label="Loading hosts" />
        ) : (
          <Problem error={error} retry={reload} />
        )
      ) : (
        <>
          {data.hosts.length === 0 ? (
            <Empty title="No host has joined yet" action={add('host')}>
              A host is a Linux machine that runs people's sessions. Joining takes one command on that
              machine.
            </Empty>
          ) : (
            <div className="cards">
              {data.hosts.map((host) => (
                <HostCard key={host.id} host={host} onChange={reload} />
              ))}
            </div>
          )}
          <header className="section-head">
            <h2>
              Gateways
              {data.gateways.length > 0 && <span className="count">{data.gateways.length}</span>}
            </h2>
            {add('gateway')}
          </header>
          {data.gateways.length === 0 ? (
            <p className="muted">No gateway has joined yet. Browsers reach hosts through at least one.</p>
          ) : (
            <Gateways gateways={data.gateways} onChange={reload} />
          )}
        </>
      )}
      {adding !== undefined && <AddMachine kind={adding} onClose={() => setAdding(undefined)} />}
    </>
  )
}

function HostCard({
  host,
  onChange,
}: {
  readonly host: HostView
  readonly onChange: () => void
}): ReactElement {
  const { me } = usePerson()
  const now = useNow()
  const { busy, error, run } = useAction()
  const drain = () =>
    run(async () => {
      await adminApi.drain(host.id, !host.draining)
      onChange()
    })
  return (
    <article className="card" aria-label={host.name}>
      <header className="card-head">
        <h2>{host.name}</h2>
        <MachineState machine={host} draining={host.draining} />
      </header>
      <div className="meter-row">
        <span>
          <strong>{host.sessions}</strong> of {host.capacity} sessions
        </span>
        <span className="muted">{host.warm} warm</span>
      </div>
      <meter
        min={0}
        max={Math.max(1, host.capacity)}
        value={host.sessions}
        aria-label="Sessions of capacity"
      />
      <dl className="facts">
        <div>
          <dt>Pool</dt>
          <dd>{host.pool}</dd>
        </div>
        <div>
          <dt>Processor</dt>
          <dd>{Math.round(host.cpuPercent)} %</dd>
        </div>
        <div>
          <dt>Memory free</dt>
          <dd>{(host.memoryFreeMiB / 1024).toFixed(1)} GiB</dd>
        </div>
        <div>
          <dt>Certificate</dt>
          <dd>{timeLeft(host.certificateExpiresAt, now)}</dd>
        </div>
      </dl>
      {error !== undefined && <Problem error={error} />}
      <footer className="card-foot">
        <span className="muted small">
          {host.lastSeenAt === undefined ? 'Never seen' : `Seen ${ago(host.lastSeenAt, now)}`}
        </span>
        {me.admin && !host.revoked && (
          <span className="row-actions">
            <Revoke machine={host} onChange={onChange} />
            <button type="button" className="button button-small" disabled={busy} onClick={drain}>
              {host.draining ? 'Take sessions again' : 'Drain'}
            </button>
          </span>
        )}
      </footer>
    </article>
  )
}

function Gateways(props: {
  readonly gateways: readonly GatewayView[]
  readonly onChange: () => void
}): ReactElement {
  const { gateways, onChange } = props
  const { me } = usePerson()
  const now = useNow()
  return (
    <DataTable
      label="Gateways"
      rows={gateways.map((gateway) => ({
        key: gateway.id,
        actions: me.admin && !gateway.revoked && <Revoke machine={gateway} onChange={onChange} />,
        cells: {
          Gateway: gateway.name,
          State: <MachineState machine={gateway} />,
          Address: <span className="mono">{gateway.url}</span>,
          Connections: gateway.connections,
          Certificate: timeLeft(gateway.certificateExpiresAt, now),
        },
      }))}
    />
  )
}
