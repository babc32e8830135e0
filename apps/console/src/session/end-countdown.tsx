import { type ReactElement, useEffect, useState } from 'react'
import type { SessionNotice } from '#core/api/person.ts'
import { siteNow } from '../api/client.ts'
import { sentence } from '../words.ts'
import { WayOut } from './way-out.tsx'

/** Says that the session is about to end, why, and how much time is left to save. */
export function EndCountdown({ end }: { readonly end: NonNullable<SessionNotice['end']> }): ReactElement {
  const [now, setNow] = useState(siteNow)
  useEffect(() => {
    const timer = setInterval(() => setNow(siteNow()), 1000)
    return () => clearInterval(timer)
  }, [])
  const seconds = Math.max(0, Math.ceil((Date.parse(end.at) - now) / 1000))
  return (
    <aside className="ending" aria-label="The session is about to end">
      <p role="alert">
        <strong>This session ends soon.</strong> {sentence(end.reason)}
      </p>
      <p className="ending-time" role="timer">
        {Math.floor(seconds / 60)}:{String(seconds % 60).padStart(2, '0')}
      </p>
      <WayOut end={end} opens="the session goes on" />
    </aside>
  )
}
