import type { ReactElement, ReactNode } from 'react'

/** Title of an admin page, what it is for, and its main action. */
export function PageHead(props: {
  readonly title: string
  readonly count?: number | undefined
  readonly children: ReactNode
  readonly action?: ReactNode
}): ReactElement {
  return (
    <header className="page-head page-head-row">
      <div>
        <h1>
          {props.title}
          {props.count !== undefined && props.count > 0 && (
            <span className="count">{props.count.toLocaleString()}</span>
          )}
        </h1>
        <p className="muted">{props.children}</p>
      </div>
      {props.action}
    </header>
  )
}
