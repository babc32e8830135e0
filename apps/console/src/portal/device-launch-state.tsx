import type { ReactElement } from 'react'
import type { DeviceLaunch } from '#core/api/handoff.ts'
import { ApiError } from '../api/errors.ts'
import { Problem } from '../ui/message.tsx'
import { percent, size, span } from '../words.ts'

/** How far a workspace is that was handed to this device. */
export function DeviceLaunchState({ launch }: { readonly launch: DeviceLaunch }): ReactElement | null {
  const { state, stats, leaseLeftMs, end, workspace } = launch
  if (state === 'ended') return end === undefined ? null : <NotOpened end={end} />
  if (state === 'opening')
    return (
      <div className="here" role="status">
        <span className="waiting-bar" aria-hidden="true" />
        <span>Opening {workspace.name} on this device…</span>
      </div>
    )
  return (
    <div className="here">
      <p role="status">
        <span className="dot dot-on" aria-hidden="true" />
        Open on this device
      </p>
      <progress
        className="progress"
        aria-label={`How much of ${workspace.name} is on this device`}
        value={stats.percentLocal}
        max={100}
      />
      <p className="muted small">
        {percent(stats.percentLocal, 100)} of it is here, {size(stats.bytesFetched)} fetched
        {leaseLeftMs !== undefined &&
          ` · without the site for ${span(Math.max(1, Math.floor(leaseLeftMs / 60_000)))} more`}
      </p>
    </div>
  )
}

/** What was taken back stands in a notice of its own; what its person or its application ended needs no word. */
function NotOpened({ end }: { readonly end: NonNullable<DeviceLaunch['end']> }): ReactElement | null {
  if (end.taken || quiet.has(end.code)) return null
  const { code, reason: message, remedy } = end
  return <Problem error={new ApiError(-1, { code, message, ...(remedy !== undefined && { remedy }) })} />
}

const quiet: ReadonlySet<string> = new Set(['LEASE_ENDED', 'SESSION_CLOSED', 'SESSION_OPENED_AGAIN'])
