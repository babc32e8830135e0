import type { ReactElement } from 'react'
import { span } from '../words.ts'

/** Whether a machine of this site is there. */
export function MachineState(props: {
  readonly machine: { readonly online: boolean; readonly revoked: boolean }
  readonly draining?: boolean
}): ReactElement {
  const { online, revoked } = props.machine
  if (revoked) return <span className="state state-bad">Certificate withdrawn</span>
  if (!online) return <span className="state state-bad">Away</span>
  return props.draining === true ? (
    <span className="state state-warn">Draining</span>
  ) : (
    <span className="state state-ok">Online</span>
  )
}

/** How long a certificate is good. */
export function timeLeft(expiresAt: string, now: number): string {
  const minutes = Math.floor((Date.parse(expiresAt) - now) / 60_000)
  return minutes <= 0 ? 'expired' : `${span(minutes)} left`
}
