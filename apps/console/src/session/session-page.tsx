import { type FocusEvent, type ReactElement, useEffect, useRef, useState } from 'react'
import { createStore, useStore } from '../ui/store.ts'
import { DeviceLink } from './device-link.ts'
import { EndCountdown } from './end-countdown.tsx'
import { initialState, type LinkState, type ScreenLink } from './screen-link.ts'
import { SessionLink } from './session-link.ts'
import { SessionElsewhere, SessionFailed, SessionOver } from './session-over.tsx'
import { Toasts, useToasts } from './toasts.tsx'
import { Toolbar } from './toolbar.tsx'
import { useKeyboardRoom } from './use-keyboard-room.ts'

const nothing = createStore(initialState)

interface PageProps {
  readonly params: Readonly<Record<string, string>>
}

/** A session on a host. */
export function SessionPage({ params }: PageProps): ReactElement {
  return <WholeScreen id={params['id'] ?? ''} Link={SessionLink} />
}

/** A session whose virtual machine runs on the device that the page is shown on. */
export function DeviceSessionPage({ params }: PageProps): ReactElement {
  return <WholeScreen id={params['id'] ?? ''} Link={DeviceLink} />
}

/** A session in the whole window. */
function WholeScreen(props: {
  readonly id: string
  readonly Link: new (id: string, screen: HTMLElement, still: HTMLCanvasElement) => ScreenLink
}): ReactElement {
  const { id, Link } = props
  const page = useRef<HTMLElement>(null)
  const screen = useRef<HTMLDivElement>(null)
  const still = useRef<HTMLCanvasElement>(null)
  const [link, setLink] = useState<ScreenLink>()
  const state = useStore(link?.state ?? nothing)
  const { toasts, show } = useToasts()
  useKeyboardRoom(page)

  useEffect(() => {
    if (screen.current === null || still.current === null) return undefined
    const opened = new Link(id, screen.current, still.current)
    opened.onChanges = (sentences) => {
      for (const sentence of sentences) show(sentence)
    }
    opened.start()
    setLink(opened)
    return () => opened.close()
  }, [id, Link, show])

  const { phase, session, error } = state
  useEffect(() => {
    if (session !== undefined) document.title = `${session.workspace.name} · Trustcast`
  }, [session])

  if (phase === 'over' && session !== undefined) return <SessionOver session={session} />
  if (phase === 'elsewhere' && session !== undefined) return <SessionElsewhere session={session} />
  if (phase === 'failed') return <SessionFailed error={error} />
  return (
    <main ref={page} className={`session session-${phase}`} aria-label={session?.workspace.name ?? 'Session'}>
      <canvas className="still" ref={still} aria-hidden="true" hidden={phase !== 'interrupted'} />
      <div
        className="screen"
        ref={screen}
        role="application"
        aria-label="Screen of the session"
        onBlur={releaseKeys}
      />
      {session !== undefined && <Toolbar state={state} onNotice={show} />}
      <Veil state={state} />
      {state.conditions?.end !== undefined && <EndCountdown end={state.conditions.end} />}
      <Toasts toasts={toasts} />
    </main>
  )
}

/** What the person sees while there is no live picture. */
function Veil({ state }: { readonly state: LinkState }): ReactElement {
  const { phase, session, unreached } = state
  return (
    <div className="veil" role="status" data-phase={phase}>
      {phase === 'interrupted' && (
        <div className="veil-card">
          <span className="waiting-bar" aria-hidden="true" />
          <strong>Reconnecting…</strong>
          <span>Your session goes on.</span>
        </div>
      )}
      {phase === 'opening' && (
        <div className="veil-card">
          <span className="waiting-bar" aria-hidden="true" />
          <strong>{session === undefined ? 'Opening…' : `Opening ${session.workspace.name}…`}</strong>
          {session?.host !== undefined && unreached === undefined && (
            <span>On {session.host.name}, end-to-end encrypted</span>
          )}
          {session?.endpoint !== undefined && <span>On this device</span>}
          {unreached !== undefined && <Unreached addresses={unreached} />}
        </div>
      )}
    </div>
  )
}

/** Browsers do not say why a connection failed; an untrusted certificate is the cause that a person can mend. */
function Unreached({ addresses }: { readonly addresses: readonly string[] }): ReactElement {
  return (
    <>
      <span>No gateway can be reached yet. Trying again.</span>
      <span>
        If this goes on, this browser may not trust the gateway’s certificate. Open its address once, accept,
        and come back:
      </span>
      {addresses.map((address) => (
        <a key={address} href={address} target="_blank" rel="noreferrer">
          {address}
        </a>
      ))}
    </>
  )
}

/**
 * noVNC lets go of held keys only when the window loses the focus. When the focus moves to the toolbar the modifiers
 * of the shortcut would stay down in the session, so it is told the same.
 */
function releaseKeys({ currentTarget, relatedTarget }: FocusEvent): void {
  if (!currentTarget.contains(relatedTarget)) window.dispatchEvent(new Event('blur'))
}
