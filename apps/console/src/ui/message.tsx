import type { ReactElement, ReactNode } from 'react'
import { isCoded } from '#core/errors/coded-error.ts'
import { sentence } from '../words.ts'
import { Icon } from './icons.tsx'

/** What went wrong, why, and what to do now. Announced by screen readers. */
export function Problem({
  error,
  retry,
}: {
  readonly error: unknown
  readonly retry?: () => void
}): ReactElement {
  const { message, remedy, code } = describe(error)
  return (
    <div className="notice notice-bad" role="alert">
      <Icon name="warning" />
      <div className="grow">
        <p>
          {message} {remedy !== undefined && <span className="muted">{remedy}</span>}
        </p>
        {code !== undefined && <p className="code">{code}</p>}
      </div>
      {retry !== undefined && (
        <button type="button" className="button button-small" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  )
}

/** A page or list that has nothing to show yet, and what to do next. */
export function Empty(props: {
  readonly title: string
  readonly children: ReactNode
  readonly action?: ReactNode
  /** It is the whole page, and names it. */
  readonly isPage?: boolean
}): ReactElement {
  const Heading = props.isPage === true ? 'h1' : 'h2'
  return (
    <div className="empty">
      <Heading>{props.title}</Heading>
      <p>{props.children}</p>
      {props.action}
    </div>
  )
}

/** Stands in for a page while its data is on the way; silent for the first moments, so that nothing flickers. */
export function Waiting({ label }: { readonly label: string }): ReactElement {
  return (
    <div className="waiting" role="status">
      <span className="waiting-bar" aria-hidden="true" />
      <span>{label}</span>
    </div>
  )
}

export function describe(error: unknown): { message: string; remedy?: string; code?: string } {
  if (isCoded(error)) {
    return {
      message: sentence(error.message),
      code: error.code,
      ...(error.remedy === undefined ? {} : { remedy: error.remedy }),
    }
  }
  return { message: 'Something in this page went wrong.', remedy: 'Reload the page.' }
}
