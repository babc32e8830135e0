import type { ReactElement, ReactNode } from 'react'
import { Icon } from './icons.tsx'

export interface DataRow {
  readonly key: string
  /** By name of the column, in order. The first one names the row. */
  readonly cells: Readonly<Record<string, ReactNode>>
  /** Buttons at the end of the row. */
  readonly actions?: ReactNode
  readonly off?: boolean
}

/** By which columns rows can be ordered, and are. */
export interface Sorting<Column extends string> {
  readonly columns: readonly Column[]
  readonly by: Column
  readonly descending: boolean
  readonly onSort: (column: Column) => void
}

/** A table that becomes a list of cards on a phone. The roles are written out because that display would drop them. */
export function DataTable<Column extends string = never>({
  label,
  rows,
  sort,
}: {
  readonly label: string
  readonly rows: readonly DataRow[]
  readonly sort?: Sorting<Column>
}): ReactElement {
  const hasActions = rows.some(({ actions }) => actions !== undefined && actions !== false)
  return (
    <div className="table-box">
      <table role="table" aria-label={label}>
        <thead role="rowgroup">
          <tr role="row">
            {Object.keys(rows[0]?.cells ?? {}).map((column) => (
              <Heading key={column} column={column} sort={sort} />
            ))}
            {hasActions && <th scope="col" role="columnheader" aria-label="Actions" />}
          </tr>
        </thead>
        <tbody role="rowgroup">
          {rows.map(({ key, cells, actions, off }) => (
            <tr key={key} role="row" className={off === true ? 'row-off' : ''}>
              {Object.entries(cells).map(([column, cell], index) =>
                index === 0 ? (
                  <th key={column} scope="row" role="rowheader">
                    {cell}
                  </th>
                ) : (
                  <td key={column} role="cell" data-column={column}>
                    <div>{cell}</div>
                  </td>
                ),
              )}
              {hasActions && (
                <td role="cell" className="cell-actions">
                  {actions}
                </td>
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

function Heading<Column extends string>(props: {
  readonly column: string
  readonly sort: Sorting<Column> | undefined
}): ReactElement {
  const { column, sort } = props
  const own = sort?.columns.find((one) => one === column)
  if (sort === undefined || own === undefined) {
    return (
      <th scope="col" role="columnheader">
        {column}
      </th>
    )
  }
  const direction = sort.descending ? 'descending' : 'ascending'
  return (
    <th scope="col" role="columnheader" aria-sort={sort.by === own ? direction : undefined}>
      <button type="button" className="sort" onClick={() => sort.onSort(own)}>
        {column}
        <Icon name="chevron" />
      </button>
    </th>
  )
}
