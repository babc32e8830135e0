import type { ReactElement } from 'react'
import type { SessionView } from '#core/api/person.ts'
import { Unlocks } from '../ui/decision-details.tsx'
import { sentence } from '../words.ts'

/** What would open an ending session again, or whom to ask when nothing that the person can change would. */
export function WayOut(props: {
  readonly end: NonNullable<SessionView['end']>
  readonly opens: string
}): ReactElement | null {
  const { end, opens } = props
  if (end.unlocks.length > 0) return <Unlocks unlocks={end.unlocks} opens={opens} />
  if (end.remedy !== undefined) return <p className="muted">{sentence(end.remedy)}</p>
  if (end.code !== 'TRUST_LOST') return null
  return <p className="muted">Nothing you can change here would allow it. Ask an admin if you need it.</p>
}
