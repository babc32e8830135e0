import type { ReactElement } from 'react'
import { usePerson } from '../person-context.ts'
import { Dialog } from '../ui/dialog.tsx'
import { span, worthOf, zoneSentences } from '../words.ts'

/** Every claim that decisions are made from, with where it comes from: nothing about a person is hidden from them. */
export function KnownAboutYou({ onClose }: { readonly onClose: () => void }): ReactElement {
  const { me } = usePerson()
  return (
    <Dialog title="What this site knows about you" onClose={onClose} wide>
      <div className="dialog-body">
        <p>
          The site sees you at <span className="mono">{me.network.address}</span>:{' '}
          {zoneSentences[me.network.kind]} (zone <strong>{me.network.zone}</strong>). Decisions about your
          workspaces are made from the facts below and from your groups
          {me.groups.length > 0 && ` (${me.groups.join(', ')})`}. What a device says about itself can lower
          trust, never raise it.
        </p>
        <div className="table-box" tabIndex={0} role="region" aria-label="Facts">
          <table>
            <thead>
              <tr>
                <th scope="col">Fact</th>
                <th scope="col">Value</th>
                <th scope="col">How it is known</th>
                <th scope="col">Age</th>
              </tr>
            </thead>
            <tbody>
              {me.claims.map((claim) => (
                <tr key={claim.name}>
                  <th scope="row">{claim.label}</th>
                  <td className={claim.value === 'unknown' ? 'muted' : ''}>{claim.value}</td>
                  <td>{worthOf(claim.source)}</td>
                  <td className="muted">{claim.ageSec < 60 ? 'now' : span(Math.floor(claim.ageSec / 60))}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
        {me.claims.length === 0 && (
          <p className="muted">
            Nothing is known about this computer. A browser alone proves little about it.
          </p>
        )}
      </div>
    </Dialog>
  )
}
