import { type ReactElement, useState } from 'react'
import type { DataAnswer, DataCopy } from '#core/api/data.ts'
import { csvOf } from '#core/data/index.ts'
import { dataApi } from '../../api/data-api.ts'
import { SelectField, TextField } from '../../ui/fields.tsx'
import { Icon } from '../../ui/icons.tsx'
import { Empty, Problem, Waiting } from '../../ui/message.tsx'
import { saveFile } from '../../ui/save-file.ts'
import { useInterval, useResource, useSiteEvents } from '../../ui/use-resource.ts'
import { count, zoneKindNames } from '../../words.ts'
import { PageHead } from '../page-head.tsx'
import { type Area, chooseCopies, type Order, orderCopies, sortColumns } from './choose-copies.ts'
import { CopyTable } from './copy-table.tsx'
import { DataPicture } from './data-picture.tsx'
import { RemoveDialog } from './remove-dialog.tsx'
import { CopyTimeline } from './timeline-dialog.tsx'
import { WithdrawDialog } from './withdraw-dialog.tsx'

/** What is written is counted by endpoints all the while and told by nobody. */
const lookAgainMs = 5_000

/** Every copy of data, live: the page that an auditor opens first. */
export function DataPage(): ReactElement {
  const { data, error, reload } = useResource(dataApi.data)
  useSiteEvents((event) => {
    if (event.kind !== 'session') reload()
  })
  useInterval(reload, lookAgainMs)
  return (
    <>
      <PageHead title="Where is the data?" count={data?.summary.total}>
        {data === undefined ? 'Every copy of data, in the data centre and outside.' : sentenceOfAll(data)}
      </PageHead>
      {data === undefined ? (
        error === undefined ? (
          <Waiting label="Looking where data is" />
        ) : (
          <Problem error={error} retry={reload} />
        )
      ) : (
        <Copies data={data} onChange={reload} />
      )}
    </>
  )
}

function sentenceOfAll({ summary }: DataAnswer): string {
  const { total, outside, readable } = summary
  if (total === 0) return 'Nothing runs, and nothing is on any endpoint.'
  if (outside === 0) return 'All data is in the data centre. No endpoint holds anything.'
  const left = outside - readable
  const kept = left === 0 ? '' : `, ${left} of them unreadable there`
  return `${count(total - outside, 'copy', 'copies')} in the data centre; ${count(outside, 'copy', 'copies')} on endpoints${kept}.`
}

function Copies({
  data,
  onChange,
}: {
  readonly data: DataAnswer
  readonly onChange: () => void
}): ReactElement {
  const [wanted, setWanted] = useState('')
  const [area, setArea] = useState<Area>()
  const [order, setOrder] = useState<Order>({ by: 'Where', descending: false })
  const [told, setTold] = useState<DataCopy>()
  const [asked, setAsked] = useState<DataCopy>()
  const [removed, setRemoved] = useState<DataCopy>()
  const shown = orderCopies(chooseCopies(data.copies, { wanted, area }), order)
  const orderBy = (by: Order['by']) =>
    setOrder({ by, descending: order.by === by ? !order.descending : false })
  return (
    <>
      {!data.complete && (
        <p className="notice notice-warn" role="status">
          There are more copies than are shown here: the counts are too small.
        </p>
      )}
      <DataPicture copies={data.copies} area={area} onChoose={setArea} />
      {data.copies.length === 0 ? (
        <Empty title="There is no copy of data anywhere">
          Copies appear here the moment someone opens a workspace, in the data centre or on an endpoint.
        </Empty>
      ) : (
        <>
          <Tools
            shown={shown}
            data={data}
            wanted={wanted}
            onWanted={setWanted}
            area={area}
            onAllAreas={() => setArea(undefined)}
            order={order}
            onOrder={setOrder}
          />
          {shown.length === 0 ? (
            <p className="muted">No copy of data here fits that.</p>
          ) : (
            <div className="copies">
              <CopyTable
                copies={shown}
                order={order}
                onOrder={orderBy}
                onTimeline={setTold}
                onWithdraw={setAsked}
                onRemove={setRemoved}
              />
            </div>
          )}
        </>
      )}
      {told !== undefined && <CopyTimeline copy={told} onClose={() => setTold(undefined)} />}
      {asked !== undefined && (
        <WithdrawDialog
          copy={asked}
          onClose={() => setAsked(undefined)}
          onDone={() => {
            setAsked(undefined)
            onChange()
          }}
        />
      )}
      {removed !== undefined && (
        <RemoveDialog
          copy={removed}
          onClose={() => setRemoved(undefined)}
          onDone={() => {
            setRemoved(undefined)
            onChange()
          }}
        />
      )}
    </>
  )
}

function Tools(props: {
  readonly shown: readonly DataCopy[]
  readonly data: DataAnswer
  readonly wanted: string
  readonly onWanted: (wanted: string) => void
  readonly area: Area | undefined
  readonly onAllAreas: () => void
  readonly order: Order
  readonly onOrder: (order: Order) => void
}): ReactElement {
  const { shown, data, area } = props
  const name = `data-${data.at.slice(0, 19).replaceAll(':', '')}`
  const asJson = () => JSON.stringify({ at: data.at, copies: shown }, undefined, 2)
  return (
    <search className="filter data-tools">
      <TextField
        label="Filter by workspace, person or machine"
        type="search"
        value={props.wanted}
        onChange={(event) => props.onWanted(event.target.value)}
      />
      <div className="only-narrow">
        <SelectField
          label="Order by"
          options={sortColumns.map((column) => ({ value: column, label: column }))}
          value={props.order.by}
          onChange={(event) => {
            const by = sortColumns.find((column) => column === event.target.value)
            if (by !== undefined) props.onOrder({ by, descending: false })
          }}
        />
      </div>
      <span className="data-shown">
        <span className="muted" role="status">
          {shown.length} of {data.copies.length}
        </span>
        {area !== undefined && (
          <button type="button" className="button button-small" onClick={props.onAllAreas}>
            <Icon name="close" />
            {area === 'datacenter' ? 'Data centre' : zoneKindNames[area]} only
          </button>
        )}
      </span>
      <span className="row-actions">
        <button
          type="button"
          className="button button-small"
          onClick={() => saveFile(`${name}.csv`, 'text/csv', csvOf(shown))}
        >
          Save as CSV
        </button>
        <button
          type="button"
          className="button button-small"
          onClick={() => saveFile(`${name}.json`, 'application/json', asJson())}
        >
          Save as JSON
        </button>
      </span>
    </search>
  )
}
