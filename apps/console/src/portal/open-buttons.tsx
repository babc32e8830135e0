import { type ReactElement, useState } from 'react'
import type { WorkspaceView } from '#core/api/person.ts'
import { Confirm } from '../ui/dialog.tsx'
import { Icon } from '../ui/icons.tsx'
import type { Action } from '../ui/use-action.ts'
import { isOnDevice, isThis, isTrustedAgain } from './trusted-again.ts'
import type { Device } from './use-device.ts'

/** The ways in which a workspace can be opened from this page now, the best first. */
export function OpenButtons(props: {
  readonly workspace: WorkspaceView
  readonly device: Device
  readonly action: Action
  readonly nameId: string
  readonly onOpen: () => void
  readonly onOpenHere: (wish?: { readonly switch?: boolean }) => void
  readonly onOpenByScheme: () => void
}): ReactElement | null {
  const { workspace, device, action, nameId } = props
  const { decision, sessionId } = workspace
  const runsHere = isThis(workspace, device) && isOnDevice(workspace.here.decision)
  if (runsHere && sessionId === undefined)
    return (
      <button
        type="button"
        className="button button-primary"
        disabled={action.busy}
        aria-describedby={nameId}
        onClick={() => props.onOpenHere()}
      >
        {action.busy ? 'Handing over…' : 'Open on this device'}
      </button>
    )
  if (decision.outcome === undefined && sessionId === undefined)
    return isForDevices(workspace) ? <ByScheme {...props} /> : null
  return (
    <>
      <button
        type="button"
        className="button button-primary"
        disabled={action.busy}
        aria-describedby={nameId}
        onClick={props.onOpen}
      >
        {openLabel(workspace, action.busy)}
      </button>
      {isTrustedAgain(workspace, device) && <BackToDevice {...props} />}
    </>
  )
}

/** A workspace that only a device could open: this one may have the client, and not answer the page. */
function isForDevices({ decision }: WorkspaceView): boolean {
  return decision.refused.some(
    ({ place, code, unlocks }) => place === 'endpoint' && (code === 'NO_ENDPOINT' || unlocks.length > 0),
  )
}

/** Nobody tells the page whether a program took it: what to do otherwise stands there once it was tried. */
function ByScheme(props: { readonly action: Action; readonly onOpenByScheme: () => void }): ReactElement {
  const [tried, setTried] = useState(false)
  return (
    <div className="by-scheme">
      <button
        type="button"
        className="button"
        disabled={props.action.busy}
        onClick={() => {
          setTried(true)
          props.onOpenByScheme()
        }}
      >
        Open on this device
      </button>
      {tried && (
        <p className="small muted" role="status">
          Handed to the Trustcast client of this device. Nothing opened? Then it has none: an admin installs
          it with <code className="mono">trustcast endpoint install</code> and enrols the device with a token
          from this site.
        </p>
      )}
    </div>
  )
}

/** It is open in the data centre, and could be here: going back ends it there. */
function BackToDevice(props: {
  readonly workspace: WorkspaceView
  readonly action: Action
  readonly onOpenHere: (wish?: { readonly switch?: boolean }) => void
}): ReactElement {
  const [asking, setAsking] = useState(false)
  const { name } = props.workspace
  return (
    <>
      <button type="button" className="button" disabled={props.action.busy} onClick={() => setAsking(true)}>
        <Icon name="desktop" />
        Open on this device again
      </button>
      {asking && (
        <Confirm
          title={`Open ${name} on this device again?`}
          action="Open on this device"
          onConfirm={() => {
            setAsking(false)
            props.onOpenHere({ switch: true })
          }}
          onClose={() => setAsking(false)}
        >
          <p>This device is trusted with it again. In the data centre it ends: save your work there first.</p>
        </Confirm>
      )}
    </>
  )
}

function openLabel(workspace: WorkspaceView, busy: boolean): string {
  if (busy) return 'Opening…'
  return workspace.sessionId === undefined ? 'Open' : 'Reconnect'
}
