import { type ReactElement, useState } from 'react'
import { type DataAnswer, type DataCopy, mostCopies, zoneKindsSeen } from '#core/api/data.ts'
import { type Area, csvOf } from '#core/data/index.ts'
import { dataApi } from '../../api/data-api.ts'
import { SelectField, TextField } from '../../ui/fields.tsx'
import { Icon } from '../../ui/icons.tsx'
import { Empty, Problem, Waiting } from '../../ui/message.tsx'
import { type Pages, PageTurns, pageQuery, usePages } from '../../ui/paged-list.tsx'
import { saveFile } from '../../ui/save-file.ts'
import { useAction } from '../../ui/use-action.ts'
import { useInterval, useSiteEvents } from '../../ui/use-resource.ts'
import { count, zoneKindNames } from '../../words.ts'
import { PageHead } from '../page-head.tsx'
import { CopyTable } from './copy-table.tsx'
import { DataPicture } from './data-picture.tsx'
import { FindTimeline } from './find-timeline.tsx'
import { type Order, orderCopies, sortColumns } from './order-copies.ts'
import { RemoveDialog } from './remove-dialog.tsx'
import { CopyTimeline } from './timeline-dialog.tsx'
import { WithdrawDialog } from './withdraw-dialog.tsx'

/** What is written is counted by endpoints all the while and told by nobody. */
const lookAgainMs = 5_000

/** Rows that are drawn at first, and more with each wish: a browser takes seconds for thousands. */
const drawnAtOnce = 200

/** Every copy of data, live: the page that an auditor opens first. */
export function DataPage(): ReactElement {
  const pages = usePages(dataApi.data, mostCopies)
  const { data, error, reload } = pages
  useSiteEvents((event) => {
    if (event.kind !== 'session') reload()
  })
  useInterval(reload, lookAgainMs)
  return (
    <>
      <PageHead title="Where is the data?" count={data?.summary.total} action={<FindTimeline />}>
        {data === undefined ? 'Every copy of data, in the data centre and outside.' : sentenceOfAll(data)}
      </PageHead>
      {data === undefined ? (
        error === undefined ? (
          <Waiting label="Looking where data is" />
        ) : (
          <Problem error={error} retry={reload} />
        )
      ) : (
        <Copies data={data} pages={pages} />
      )}
    </>
  )
}

function sentenceOfAll({ summary }: DataAnswer): string {
  const { total, outside, readable } = summary
  if (total === 0) return 'Nothing runs, and nothing is on any endpoint.'
  if (outside === 0) return 'All data is in the data centre. No endpoint holds anything.'
  const left = outside - readable
  const kept = left === 0 ? '' : `, ${left.toLocaleString()} of them unreadable there`
  return `${count(total - outside, 'copy', 'copies')} in the data centre; ${count(outside, 'copy', 'copies')} on endpoints${kept}.`
}

function Copies({
  data,
  pages,
}: {
  readonly data: DataAnswer
  readonly pages: Pages<DataAnswer>
}): ReactElement {
  const [order, setOrder] = useState<Order>({ by: 'Where', descending: false })
  const [told, setTold] = useState<DataCopy>()
  const [asked, setAsked] = useState<DataCopy>()
  const [removed, setRemoved] = useState<DataCopy>()
  const [drawn, setDrawn] = useState(drawnAtOnce)
  const shown = orderCopies(data.copies, order)
  const more = Math.min(shown.length - drawn, drawnAtOnce)
  const orderBy = (by: Order['by']) =>
    setOrder({ by, descending: order.by === by ? !order.descending : false })
  return (
    <>
      <DataPicture
        summary={data.summary}
        area={areaOf(pages)}
        onChoose={(area) => pages.onNarrow(area === undefined ? {} : { area })}
      />
      {data.summary.total === 0 ? (
        <Empty title="There is no copy of data anywhere">
          Copies appear here the moment someone opens a workspace, in the data centre or on an endpoint.
        </Empty>
      ) : (
        <>
          <Tools data={data} pages={pages} order={order} onOrder={setOrder} />
          {shown.length === 0 ? (
            <p className="muted">No copy of data here fits that.</p>
          ) : (
            <div className="copies">
              <CopyTable
                copies={shown.slice(0, drawn)}
                order={order}
                onOrder={orderBy}
                onTimeline={setTold}
                onWithdraw={setAsked}
                onRemove={setRemoved}
              />
            </div>
          )}
          {more > 0 && (
            <button type="button" className="button" onClick={() => setDrawn(drawn + drawnAtOnce)}>
              Show {more} more of {shown.length.toLocaleString()}
            </button>
          )}
          <PageTurns pages={pages} />
        </>
      )}
      {told !== undefined && <CopyTimeline copy={told} onClose={() => setTold(undefined)} />}
      {asked !== undefined && (
        <WithdrawDialog
          copy={asked}
          onClose={() => setAsked(undefined)}
          onDone={() => {
            setAsked(undefined)
            pages.reload()
          }}
        />
      )}
      {removed !== undefined && (
        <RemoveDialog
          copy={removed}
          onClose={() => setRemoved(undefined)}
          onDone={() => {
            setRemoved(undefined)
            pages.reload()
          }}
        />
      )}
    </>
  )
}

const areas: readonly Area[] = ['datacenter', ...zoneKindsSeen]

function areaOf({ narrowed }: Pages<DataAnswer>): Area | undefined {
  return areas.find((area) => area === narrowed['area'])
}

function Tools(props: {
  readonly data: DataAnswer
  readonly pages: Pages<DataAnswer>
  readonly order: Order
  readonly onOrder: (order: Order) => void
}): ReactElement {
  const { data, pages, order } = props
  const area = areaOf(pages)
  const isAll = pages.onNext === undefined && pages.onPrevious === undefined
  const { busy, error, run } = useAction()
  const save = (ending: string, type: string, format: (at: string, copies: readonly DataCopy[]) => string) =>
    run(async () => {
      const { at, copies } = isAll ? data : await everyPage(pages)
      const name = `data-${at.slice(0, 19).replaceAll(':', '')}.${ending}`
      saveFile(name, type, format(at, orderCopies(copies, order)))
    })
  return (
    <search className="filter data-tools">
      <TextField
        label="Filter by workspace, person or machine"
        type="search"
        maxLength={200}
        value={pages.search}
        onChange={(event) => pages.onSearch(event.target.value)}
      />
      <div className="only-narrow">
        <SelectField
          label="Order by"
          options={sortColumns.map((column) => ({ value: column, label: column }))}
          value={order.by}
          onChange={(event) => {
            const by = sortColumns.find((column) => column === event.target.value)
            if (by !== undefined) props.onOrder({ by, descending: false })
          }}
        />
      </div>
      <span className="data-shown">
        <span className="muted" role="status">
          {!isAll &&
            `${pages.from.toLocaleString()}–${(pages.from + data.copies.length - 1).toLocaleString()} of `}
          {data.found.toLocaleString()} of {data.summary.total.toLocaleString()}
          {!isAll && ', ordered within this page'}
        </span>
        {area !== undefined && (
          <button type="button" className="button button-small" onClick={() => pages.onNarrow({})}>
            <Icon name="close" />
            {area === 'datacenter' ? 'Data centre' : zoneKindNames[area]} only
          </button>
        )}
      </span>
      <span className="row-actions">
        <button
          type="button"
          className="button button-small"
          disabled={busy}
          onClick={() => save('csv', 'text/csv', (_at, copies) => csvOf(copies))}
        >
          Save as CSV
        </button>
        <button
          type="button"
          className="button button-small"
          disabled={busy}
          onClick={() =>
            save('json', 'application/json', (at, copies) => JSON.stringify({ at, copies }, undefined, 2))
          }
        >
          Save as JSON
        </button>
      </span>
      {error !== undefined && <Problem error={error} />}
    </search>
  )
}

/** All that is found, also what is on other pages than the one that is shown. */
async function everyPage({
  search,
  narrowed,
}: Pages<DataAnswer>): Promise<Pick<DataAnswer, 'at' | 'copies'>> {
  const copies: DataCopy[] = []
  let next: string | undefined
  let at: string | undefined
  do {
    const page = await dataApi.data(pageQuery({ search, narrowed, size: mostCopies }, next))
    at ??= page.at
    copies.push(...page.copies)
    next = page.next
  } while (next !== undefined)
  return { at, copies }
}
