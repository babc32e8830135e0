import type { ReactElement, ReactNode } from 'react'

export interface DataRow {
  readonly key: string
  /** By name of the column, in order. The first one names the row. */
  readonly cells: Readonly<Record<string, ReactNode>>
  /** Buttons at the end of the row. */
  readonly actions?: ReactNode
  readonly off?: boolean
}

/** A table that becomes a list of cards on a phone. The roles are written out because that display would drop them. */
export function DataTable({
  label,
  rows,
}: {
  readonly label: string
  readonly rows: readonly DataRow[]
}): ReactElement {
  const hasActions = rows.some(({ actions }) => actions !== undefined && actions !== false)
  return (
    <div className="table-box">
      <table role="table" aria-label={label}>
        <thead role="rowgroup">
          <tr role="row">
            {Object.keys(rows[0]?.cells ?? {}).map((column) => (
              <th key={column} scope="col" role="columnheader">
                {column}
              </th>
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
