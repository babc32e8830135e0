import { type ReactElement, useEffect, useRef } from 'react'
import type { SessionView } from '#core/api/person.ts'
import { ApiError } from '../api/errors.ts'
import { DecisionDetails } from '../ui/decision-details.tsx'
import { Mark } from '../ui/icons.tsx'
import { describe } from '../ui/message.tsx'
import { Link } from '../ui/router.tsx'
import { sentence } from '../words.ts'
import { WayOut } from './way-out.tsx'

/** The calm end of a session: why, and what would open it again. */
export function SessionOver({ session }: { readonly session: SessionView }): ReactElement {
  const title = useFocus()
  const { end, workspace } = session
  return (
    <main className="door">
      <div className="door-card">
        <Mark />
        <h1 ref={title} tabIndex={-1}>
          {workspace.name} has ended
        </h1>
        <p>{sentence(end?.reason ?? 'the session is over')}</p>
        {end !== undefined && <WayOut end={end} opens={workspace.name} />}
        <Link href="/" className="button button-primary button-wide">
          Back to workspaces
        </Link>
        {end !== undefined && <p className="code">{end.code}</p>}
      </div>
    </main>
  )
}

/** Another browser or window of the same person shows the session now. */
export function SessionElsewhere({ session }: { readonly session: SessionView }): ReactElement {
  const title = useFocus()
  return (
    <main className="door">
      <div className="door-card">
        <Mark />
        <h1 ref={title} tabIndex={-1}>
          Opened elsewhere
        </h1>
        <p>{session.workspace.name} goes on in another window or on another computer of yours.</p>
        <button type="button" className="button button-primary button-wide" onClick={() => location.reload()}>
          Bring it back here
        </button>
        <Link href="/" className="button button-wide">
          Back to workspaces
        </Link>
      </div>
    </main>
  )
}

/** The session cannot be shown, and trying again would not help. */
export function SessionFailed({ error }: { readonly error: unknown }): ReactElement {
  const title = useFocus()
  const { message, remedy, code } = describe(error)
  const decision = error instanceof ApiError ? error.decision : undefined
  return (
    <main className="door">
      <div className="door-card">
        <Mark />
        <h1 ref={title} tabIndex={-1}>
          This session cannot be opened
        </h1>
        <p>
          {message} {remedy}
        </p>
        {decision !== undefined && <DecisionDetails decision={decision} />}
        <Link href="/" className="button button-primary button-wide">
          Back to workspaces
        </Link>
        {code !== undefined && <p className="code">{code}</p>}
      </div>
    </main>
  )
}

function useFocus(): React.RefObject<HTMLHeadingElement | null> {
  const element = useRef<HTMLHeadingElement>(null)
  useEffect(() => element.current?.focus(), [])
  return element
}
