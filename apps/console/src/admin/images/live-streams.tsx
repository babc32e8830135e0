import { type ReactElement, useState } from 'react'
import type { HeldLease } from '#core/api/lease.ts'
import { api } from '../../api/api.ts'
import { imagesApi } from '../../api/images-api.ts'
import { usePerson } from '../../person-context.ts'
import { type DataRow, DataTable } from '../../ui/data-table.tsx'
import { Confirm } from '../../ui/dialog.tsx'
import { Problem } from '../../ui/message.tsx'
import { PageSearch, PageTurns, usePages } from '../../ui/paged-list.tsx'
import { useAction } from '../../ui/use-action.ts'
import { useInterval, useNow } from '../../ui/use-resource.ts'
import { ago, leaseStateNames, overlaySentences, sentence, size, span } from '../../words.ts'

/** Every disk that an endpoint holds a lease of, with what it has fetched so far. */
export function LiveStreams(props: { readonly onChange: () => void }): ReactElement {
  const pages = usePages(imagesApi.leases)
  const { data, reload } = pages
  useInterval(reload, 5000)
  const { me } = usePerson()
  const now = useNow()
  const [asked, setAsked] = useState<HeldLease>()
  const { busy, error, run } = useAction()

  function withdraw(lease: HeldLease): void {
    setAsked(undefined)
    run(async () => {
      await api.endSession(lease.sessionId)
      reload()
      props.onChange()
    })
  }

  return (
    <section aria-labelledby="streams-title">
      <header className="section-head">
        <h2 id="streams-title">
          In use now
          {data !== undefined && data.count > 0 && (
            <span className="count">{data.count.toLocaleString()}</span>
          )}
        </h2>
      </header>
      {error !== undefined && <Problem error={error} />}
      {data === undefined ? (
        pages.error !== undefined && <Problem error={pages.error} retry={reload} />
      ) : data.count === 0 && pages.search === '' ? (
        <p className="muted">No endpoint holds a disk right now.</p>
      ) : (
        <>
          <PageSearch
            label="Search by endpoint, person, workspace or image"
            pages={pages}
            shown={data.leases.length}
            count={data.count}
          />
          {data.leases.length > 0 && (
            <DataTable
              label="Leases"
              rows={data.leases.map((lease) => ({
                key: lease.id,
                cells: cellsOf(lease, now),
                actions: me.admin && (lease.state === 'held' || lease.state === 'offered') && (
                  <button
                    type="button"
                    className="button button-small"
                    disabled={busy}
                    aria-label={`Withdraw ${lease.image} from ${lease.endpoint.name}`}
                    onClick={() => setAsked(lease)}
                  >
                    Withdraw
                  </button>
                ),
              }))}
            />
          )}
          <PageTurns pages={pages} />
        </>
      )}
      {asked !== undefined && (
        <Confirm
          title={`Withdraw ${asked.image} from ${asked.endpoint.name}?`}
          action="Withdraw"
          onConfirm={() => withdraw(asked)}
          onClose={() => setAsked(undefined)}
        >
          <p>
            The session of {asked.person.name} ends and the key of its disk is taken back: nothing can be read
            from it any more. {overlaySentences[asked.overlay]} The audit log keeps that you did it.
          </p>
        </Confirm>
      )}
    </section>
  )
}

function cellsOf(lease: HeldLease, now: number): DataRow['cells'] {
  const { stats, keyReleasedAt, expiresAt } = lease
  const minutesLeft = Math.max(0, Math.ceil((Date.parse(expiresAt) - now) / 60_000))
  return {
    'Endpoint, person': (
      <TwoLines
        first={
          <>
            <span className={lease.endpoint.online ? 'dot dot-on' : 'dot'} aria-hidden="true" />
            {lease.endpoint.name}
            {!lease.endpoint.online && <span className="muted small">, away</span>}
          </>
        }
        second={lease.person.name}
      />
    ),
    Workspace: (
      <TwoLines
        first={lease.workspaceId}
        second={
          <span className="mono">
            {lease.image}:{lease.version}
          </span>
        }
      />
    ),
    Lease: (
      <TwoLines
        first={<LeaseState lease={lease} />}
        second={
          <span className="nowrap">
            {keyReleasedAt !== undefined && `since ${ago(keyReleasedAt, now).replace(/ ago$/, '')}, `}
            {span(minutesLeft)} left
          </span>
        }
      />
    ),
    Fetched: stats === undefined ? <None /> : <span className="nowrap">{size(stats.bytesFetched)}</span>,
    'From cache':
      stats === undefined ? (
        <None />
      ) : (
        <TwoLines first={size(stats.bytesLocal)} second={`${stats.cacheHits.toLocaleString()} hits`} />
      ),
    'On the device': stats === undefined ? <None /> : <Local percent={stats.percentLocal} />,
    Written: stats === undefined ? <None /> : <span className="nowrap">{size(stats.bytesWritten)}</span>,
  }
}

function LeaseState({ lease }: { readonly lease: HeldLease }): ReactElement {
  const kind = lease.state === 'held' ? 'state-ok' : lease.state === 'withdrawn' ? 'state-bad' : ''
  const reason = lease.notice && sentence(lease.notice.reason)
  return (
    <>
      <span className={`state ${kind}`} title={reason}>
        {leaseStateNames[lease.state]}
      </span>
      {reason !== undefined && <span className="visually-hidden">{reason}</span>}
    </>
  )
}

function Local({ percent }: { readonly percent: number }): ReactElement {
  const rounded = Math.round(percent)
  return (
    <span className="local">
      {rounded} %
      <meter min={0} max={100} value={percent} aria-label="Part of the image on the device" />
    </span>
  )
}

function TwoLines(props: {
  readonly first: React.ReactNode
  readonly second: React.ReactNode
}): ReactElement {
  return (
    <span className="two-lines">
      <span>{props.first}</span>
      <span className="muted small">{props.second}</span>
    </span>
  )
}

function None(): ReactElement {
  return <span className="muted">–</span>
}
