import { type ReactElement, useState } from 'react'
import type { ProposalView } from '#core/api/releases.ts'
import { imagesApi } from '../../api/images-api.ts'
import { usePerson } from '../../person-context.ts'
import { CommandLine } from '../../ui/copyable.tsx'
import { Confirm } from '../../ui/dialog.tsx'
import { Icon } from '../../ui/icons.tsx'
import { Problem } from '../../ui/message.tsx'
import { useAction } from '../../ui/use-action.ts'
import { useNow } from '../../ui/use-resource.ts'
import { ago, roleTitle } from '../../words.ts'
import { nameToSign, signCommand } from './commands.ts'

/** What awaits signatures or publication. */
export function Proposals(props: {
  readonly proposals: readonly ProposalView[]
  readonly onChange: () => void
}): ReactElement {
  const { proposals, onChange } = props
  const { me } = usePerson()
  const { busy, error, run } = useAction()
  const signed = proposals.filter(({ missing }) => missing === 0).map(({ role }) => role)
  const publish = (roles: readonly string[]) =>
    run(async () => {
      await imagesApi.publish(roles)
      onChange()
    })
  return (
    <section aria-labelledby="proposals-title">
      <header className="section-head">
        <h2 id="proposals-title">
          Awaiting signatures
          <span className="count">{proposals.length}</span>
        </h2>
        {me.admin && signed.length > 1 && (
          <button type="button" className="button" disabled={busy} onClick={() => publish(signed)}>
            Publish the {signed.length} that are signed
          </button>
        )}
      </header>
      {error !== undefined && <Problem error={error} />}
      <div className="cards">
        {proposals.map((proposal) => (
          <Proposal
            key={proposal.role}
            proposal={proposal}
            busy={busy}
            onPublish={() => publish([proposal.role])}
            onChange={onChange}
          />
        ))}
      </div>
    </section>
  )
}

function Proposal(props: {
  readonly proposal: ProposalView
  readonly busy: boolean
  readonly onPublish: () => void
  readonly onChange: () => void
}): ReactElement {
  const { proposal, busy, onPublish } = props
  const { me } = usePerson()
  const now = useNow()
  const name = nameToSign(proposal)
  return (
    <article className="card" aria-label={titleOf(proposal)}>
      <header className="card-head">
        <h3>{titleOf(proposal)}</h3>
        {proposal.missing === 0 ? (
          <span className="state state-ok">Signed</span>
        ) : (
          <span className="state state-warn">{proposal.missing} missing</span>
        )}
      </header>
      <p className="muted small card-lead">
        {whatOf(proposal)} Proposed {ago(proposal.proposedAt, now)} by {proposal.proposedBy}.
      </p>
      {proposal.signatures.map((state) => (
        <Signatures key={state.role} state={state} titled={proposal.signatures.length > 1} />
      ))}
      {proposal.missing > 0 && (
        <div className="stack-small">
          <p className="small">To sign, on a machine that has the key. It shows first what is signed.</p>
          <CommandLine text={signCommand(name)} label={`Copy the command that signs ${name}`} />
        </div>
      )}
      {me.admin && (
        <footer className="card-foot">
          <Withdraw proposal={proposal} onChange={props.onChange} />
          <button
            type="button"
            className={proposal.missing === 0 ? 'button button-small button-primary' : 'button button-small'}
            disabled={busy || proposal.missing > 0}
            aria-label={`Publish ${name}`}
            onClick={onPublish}
          >
            Publish
          </button>
        </footer>
      )}
    </article>
  )
}

function Signatures(props: {
  readonly state: ProposalView['signatures'][number]
  readonly titled: boolean
}): ReactElement {
  const { role, threshold, valid, waiting, unknownKeys } = props.state
  return (
    <div className="stack-small">
      <p className="small">
        <strong>
          {valid.length} of {threshold} signatures
        </strong>
        {props.titled && <span className="muted"> of the {role}</span>}
      </p>
      <ul className="chips" aria-label={`Signatures of the ${role}`}>
        {valid.map(({ keyId, name }) => (
          <li key={keyId} className="chip chip-ok" title={keyId}>
            <Icon name="check" />
            {name} <span className="visually-hidden">has signed</span>
          </li>
        ))}
        {waiting.map(({ keyId, name }) => (
          <li key={keyId} className="chip chip-open" title={keyId}>
            {name} <span className="visually-hidden">can sign</span>
          </li>
        ))}
      </ul>
      {unknownKeys.length > 0 && (
        <p className="muted small">{unknownKeys.length} more by keys that are not named count for nothing.</p>
      )}
    </div>
  )
}

function Withdraw(props: { readonly proposal: ProposalView; readonly onChange: () => void }): ReactElement {
  const { proposal } = props
  const [asking, setAsking] = useState(false)
  const { busy, error, run } = useAction()
  const withdraw = () => {
    setAsking(false)
    run(async () => {
      await imagesApi.withdrawProposal(proposal.role)
      props.onChange()
    })
  }
  return (
    <>
      <button
        type="button"
        className="button button-small button-quiet"
        aria-label={`Withdraw the proposal ${titleOf(proposal)}`}
        disabled={busy}
        onClick={() => setAsking(true)}
      >
        Withdraw
      </button>
      {error !== undefined && <Problem error={error} />}
      {asking && (
        <Confirm
          title={`Withdraw ${titleOf(proposal)}?`}
          action="Withdraw"
          onConfirm={withdraw}
          onClose={() => setAsking(false)}
        >
          <p>The proposal and its signatures are gone. What is published stays as it is.</p>
        </Confirm>
      )}
    </>
  )
}

function titleOf(proposal: ProposalView): string {
  return proposal.adds.length === 1 ? nameToSign(proposal) : roleTitle(proposal.role)
}

function whatOf({ role, adds }: ProposalView): string {
  if (role === 'root') return 'Which keys speak for this site’s images.'
  if (role === 'targets') return 'Which keys sign each image.'
  const [added] = adds
  if (added === undefined) return 'No new release: it is renewed, or releases are retired.'
  return added.contentVersion === added.version
    ? `Release ${added.counter}.`
    : `Release ${added.counter}, a way back: it has the content of ${added.contentVersion}.`
}
