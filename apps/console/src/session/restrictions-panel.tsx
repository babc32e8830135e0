import type { ReactElement } from 'react'
import { Restrictions } from '../ui/decision-details.tsx'
import type { Conditions } from './session-link.ts'

/** What policy withholds in this session, why, and what would turn it on. */
export function RestrictionsPanel({
  conditions,
}: {
  readonly conditions: Conditions | undefined
}): ReactElement {
  return (
    <section className="panel" aria-label="Restrictions">
      <h2>Restricted here</h2>
      <div className="reasons">
        <Restrictions restrictions={conditions?.restrictions ?? []} />
      </div>
      <p className="muted small">The host enforces this. It changes at once when the decision changes.</p>
    </section>
  )
}
