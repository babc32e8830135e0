import { type ReactElement, useEffect, useRef } from 'react'
import type { SessionView } from '#core/api/person.ts'
import { api } from '../api/api.ts'
import { ApiError } from '../api/errors.ts'
import { DecisionDetails } from '../ui/decision-details.tsx'
import { Mark } from '../ui/icons.tsx'
import { describe, Problem } from '../ui/message.tsx'
import { Link } from '../ui/router.tsx'
import { useResource, useSiteEvents } from '../ui/use-resource.ts'
import { modeNames, overlaySentences, sentence } from '../words.ts'
import { useStepDown } from './use-step-down.ts'
import { wasTaken } from './was-taken.ts'
import { WayOut } from './way-out.tsx'

/** The calm end of a session: why, and what would open it again. */
export function SessionOver({ session }: { readonly session: SessionView }): ReactElement {
  return wasTaken(session) ? <SessionTaken session={session} /> : <SessionEnded session={session} />
}

/** What was taken back from a device: why, what would bring it back, and how work can go on. */
function SessionTaken({ session }: { readonly session: SessionView }): ReactElement {
  const title = useFocus()
  const { end, workspace, endpoint } = session
  const { data, reload } = useResource(api.workspaces)
  useSiteEvents(reload)
  const { isOffered, open, busy, error } = useStepDown(data?.workspaces.find(({ id }) => id === workspace.id))
  return (
    <main className="door">
      <div className="door-card">
        <Mark />
        <h1 ref={title} tabIndex={-1}>
          {workspace.name} was taken back from {endpoint?.name ?? 'its device'}
        </h1>
        <p>{sentence(end?.reason ?? '')}</p>
        <p className="small">{overlaySentences[session.obligations.overlay]}</p>
        {end !== undefined && <WayOut end={end} opens={modeNames[session.mode].toLowerCase()} />}
        {error !== undefined && <Problem error={error} />}
        {isOffered && (
          <button type="button" className="button button-primary button-wide" disabled={busy} onClick={open}>
            {busy ? 'Opening…' : 'Go on in the data centre'}
          </button>
        )}
        <Link href="/" className={`button button-wide ${isOffered ? '' : 'button-primary'}`}>
          Back to workspaces
        </Link>
        {end !== undefined && <p className="code">{end.code}</p>}
      </div>
    </main>
  )
}

function SessionEnded({ session }: { readonly session: SessionView }): ReactElement {
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
        {decision !== undefined && <DecisionDetails decision={decision} heading="h2" />}
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
