import type { ReactElement } from 'react'
import { Restrictions } from '../ui/decision-details.tsx'
import type { Conditions } from './screen-link.ts'

/** What policy withholds in this session, why, and what would turn it on. */
export function RestrictionsPanel({
  conditions,
  isHere,
}: {
  readonly conditions: Conditions | undefined
  /** It runs on the device that the page is shown on. */
  readonly isHere: boolean
}): ReactElement {
  return (
    <section className="panel" aria-label="Restrictions">
      <h2>Restricted here</h2>
      <div className="reasons">
        <Restrictions restrictions={conditions?.restrictions ?? []} />
      </div>
      <p className="muted small">
        {isHere ? 'This device' : 'The host'} enforces this. It changes at once when the decision changes.
      </p>
    </section>
  )
}
