import type { ReactElement } from 'react'
import type { DecisionView, Refusal, Restriction, Unlock } from '#core/api/words.ts'
import {
  modeNames,
  modeSentences,
  placeSentences,
  refusalNames,
  restrictionName,
  sentence,
  size,
  span,
  unlockSentence,
} from '../words.ts'
import { Icon } from './icons.tsx'

/** A decision as it was taken: what is delivered and why, what is withheld, what was refused, and what would unlock it. */
export function DecisionDetails(props: {
  readonly decision: DecisionView
  /** One below the heading that this stands under. */
  readonly heading: 'h2' | 'h3' | 'h4'
}): ReactElement {
  const { outcome, refused, zoneReason } = props.decision
  const Heading = props.heading
  return (
    <div className="reasons">
      {zoneReason !== undefined && (
        <section>
          <Heading>Network</Heading>
          <p>{sentence(zoneReason)}</p>
        </section>
      )}
      {outcome !== undefined && (
        <section>
          <Heading>Chosen: {modeNames[outcome.mode]}</Heading>
          <p>
            {modeSentences[outcome.mode]}. {placeSentences[outcome.place]}.{' '}
            <Policies names={outcome.policies} />
          </p>
          <p className="muted small">{conditions(outcome.obligations)}</p>
        </section>
      )}
      {outcome !== undefined && outcome.restrictions.length > 0 && (
        <section>
          <Heading>Restricted</Heading>
          <Restrictions restrictions={outcome.restrictions} />
        </section>
      )}
      {refused.length > 0 && (
        <section>
          <Heading>{outcome === undefined ? 'Refused' : 'Not delivered in another way, because'}</Heading>
          <ul className="reason-list">
            {refused.map((refusal) => (
              <RefusedMode key={refusal.mode} refusal={refusal} />
            ))}
          </ul>
        </section>
      )}
    </div>
  )
}

export function Restrictions({
  restrictions,
}: {
  readonly restrictions: readonly Restriction[]
}): ReactElement {
  return (
    <ul className="reason-list">
      {restrictions.map((restriction) => (
        <li key={restriction.right}>
          <strong>{restrictionName(restriction)}</strong>
          <p>
            {sentence(restriction.reason)} <Policies names={restriction.policies} />
          </p>
          <Unlocks unlocks={restriction.unlocks} opens="turned on" />
        </li>
      ))}
    </ul>
  )
}

/** Each way out as one line: what to do, and what it opens. */
export function Unlocks({
  unlocks,
  opens,
}: {
  readonly unlocks: readonly Unlock[]
  readonly opens: string
}): ReactElement | null {
  if (unlocks.length === 0) return null
  return (
    <ul className="unlocks" aria-label="What would unlock it">
      {unlocks.map((unlock) => (
        <li key={unlockSentence(unlock)}>
          <Icon name="unlock" />
          <UnlockSteps unlock={unlock} opens={opens} />
        </li>
      ))}
    </ul>
  )
}

function UnlockSteps({ unlock, opens }: { readonly unlock: Unlock; readonly opens: string }): ReactElement {
  if (unlock.changes.length > 2) {
    return (
      <div>
        All of these <Leads /> {opens}
        <ul className="steps">
          {unlock.changes.map(({ claim, remedy }) => (
            <li key={claim}>{sentence(remedy)}</li>
          ))}
        </ul>
      </div>
    )
  }
  return (
    <span>
      {unlockSentence(unlock)} <Leads /> {opens}
    </span>
  )
}

/** An arrow for the eye, words for the ear. */
export function Leads(): ReactElement {
  return (
    <>
      <span aria-hidden="true">→</span>
      <span className="visually-hidden">leads to</span>
    </>
  )
}

function RefusedMode({ refusal }: { readonly refusal: Refusal }): ReactElement {
  return (
    <li>
      <strong>{modeNames[refusal.mode]}</strong> <span className="tag">{refusalNames[refusal.code]}</span>
      <p>
        {sentence(refusal.reason)} <Policies names={refusal.policies} />
      </p>
      <Unlocks unlocks={refusal.unlocks} opens={modeNames[refusal.mode].toLowerCase()} />
      {!refusal.deliverable && refusal.code !== 'NO_DELIVERER' && refusal.code !== 'NO_RELEASE' && (
        <p className="muted">This site cannot deliver in this way yet, also when it is permitted.</p>
      )}
    </li>
  )
}

function Policies({ names }: { readonly names: readonly string[] }): ReactElement | null {
  if (names.length === 0) return null
  return (
    <span className="policies">
      {names.length === 1 ? 'Policy' : 'Policies'} {names.join(', ')}.
    </span>
  )
}

function conditions(obligations: NonNullable<DecisionView['outcome']>['obligations']): string {
  const { sessionMinutes, idleMinutes, disconnectMinutes, clipboardMaxBytes, watermark } = obligations
  return [
    `Ends after ${span(sessionMinutes)}, ${span(idleMinutes)} without input or ${span(disconnectMinutes)} disconnected.`,
    `Clipboard up to ${size(clipboardMaxBytes)}.`,
    ...(watermark ? ['Name and time are shown over the picture.'] : []),
  ].join(' ')
}
