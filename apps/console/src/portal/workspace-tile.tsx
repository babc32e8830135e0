import { type ReactElement, useId, useState } from 'react'
import type { DeviceLaunch } from '#core/api/handoff.ts'
import type { SessionView, WorkspaceView } from '#core/api/person.ts'
import type { DecisionView, Unlock } from '#core/api/words.ts'
import type { DeliveryMode } from '#core/trust/words.ts'
import { ApiError } from '../api/errors.ts'
import { DecisionDetails, Leads } from '../ui/decision-details.tsx'
import { Icon, workspaceIcon } from '../ui/icons.tsx'
import { Problem } from '../ui/message.tsx'
import type { Action } from '../ui/use-action.ts'
import { modeSentences, placeSentences, restrictionName, sentence, unlockSummary } from '../words.ts'
import { DeviceLaunchState } from './device-launch-state.tsx'
import { OpenButtons } from './open-buttons.tsx'
import { isOnDevice, isThis, isTrustedAgain } from './trusted-again.ts'
import type { Device } from './use-device.ts'

/** One workspace: what it is, how it would be delivered, what is withheld, and why. */
export function WorkspaceTile(props: {
  readonly workspace: WorkspaceView
  /** The person's endpoint that has it open, if one has. */
  readonly runsOn: SessionView['endpoint']
  readonly device: Device
  readonly action: Action
  readonly onOpen: () => void
  readonly onOpenHere: (wish?: { readonly switch?: boolean }) => void
  readonly onOpenByScheme: () => void
}): ReactElement {
  const { workspace, action, device, runsOn } = props
  const decision = decisionFor(workspace, device)
  const { outcome, refused } = decision
  const [why, setWhy] = useState(false)
  const id = useId()
  const launch = latestOf(device, workspace)
  const refusedHere = refusedOnDevice(workspace, device)
  const isHere = runsOn !== undefined && runsOn.id === device.status?.endpointId
  return (
    <article className={outcome === undefined ? 'tile tile-refused' : 'tile'} aria-labelledby={`${id}-name`}>
      <header className="tile-head">
        <span className="tile-icon">
          <Icon name={workspaceIcon(workspace.icon, workspace.kind)} />
        </span>
        <div>
          <h2 id={`${id}-name`}>{workspace.name}</h2>
          <p className="muted">{workspace.description}</p>
        </div>
      </header>

      {outcome === undefined ? (
        <p className="tile-fact tile-reason">
          <Icon name="lock" />
          <span>{sentence(refused[0]?.reason ?? 'no policy permits it')}</span>
        </p>
      ) : (
        <Delivered outcome={outcome} />
      )}
      {runsOn !== undefined && !isHere && (
        <p className="tile-fact">
          <Icon name="info" />
          <span>It is open on {runsOn.name}. Go on there, or end it to open it here.</span>
        </p>
      )}
      {isTrustedAgain(workspace, device) && (
        <p className="tile-fact tile-unlock" role="status">
          <Icon name="unlock" />
          <span>Trust is back: it can be open on this device again.</span>
        </p>
      )}
      {launch !== undefined && <DeviceLaunchState launch={launch} />}
      <Better decision={isThis(workspace, device) ? workspace.here.decision : decision} />

      {action.error !== undefined && !isDecision(action.error) && <Problem error={action.error} />}
      <footer className="tile-foot">
        {runsOn === undefined && launch?.state !== 'opening' && (
          <OpenButtons {...props} nameId={`${id}-name`} />
        )}
        <button
          type="button"
          className="button button-quiet"
          aria-expanded={why}
          aria-controls={`${id}-why`}
          onClick={() => setWhy(!why)}
        >
          Why?
          <Icon name="chevron" />
        </button>
      </footer>
      <div id={`${id}-why`} className="tile-why" hidden={!why}>
        <DecisionDetails decision={decision} heading="h3" />
        {refusedHere !== undefined && (
          <section className="tile-here" aria-label="On this device">
            <h3>On this device</h3>
            <DecisionDetails decision={refusedHere.decision} heading="h4" />
          </section>
        )}
      </div>
    </article>
  )
}

/** What this page can have opened: on the device where one answers, else what a browser is given. */
function decisionFor(workspace: WorkspaceView, device: Device): DecisionView {
  const { decision, sessionId } = workspace
  const opensHere = isThis(workspace, device) && isOnDevice(workspace.here.decision)
  return opensHere && sessionId === undefined ? workspace.here.decision : decision
}

/** The decision for the device that this page is shown on, where it does not open there: it says what would. */
function refusedOnDevice(workspace: WorkspaceView, device: Device): WorkspaceView['here'] {
  return isThis(workspace, device) && !isOnDevice(workspace.here.decision) ? workspace.here : undefined
}

function latestOf({ status }: Device, { id }: WorkspaceView): DeviceLaunch | undefined {
  return status?.launches.find(({ workspace }) => workspace.id === id)
}

function Delivered({ outcome }: { readonly outcome: NonNullable<DecisionView['outcome']> }): ReactElement {
  return (
    <>
      <p className="tile-fact">
        <Icon name="place" />
        <span>
          {modeSentences[outcome.mode]}. <span className="muted">{placeSentences[outcome.place]}.</span>
        </span>
      </p>
      {(outcome.restrictions.length > 0 || outcome.obligations.watermark) && (
        <ul className="chips" aria-label="Restrictions">
          {outcome.restrictions.map((restriction) => (
            <li key={restriction.right} className="chip">
              {restrictionName(restriction)}
            </li>
          ))}
          {outcome.obligations.watermark && <li className="chip">Watermark</li>}
        </ul>
      )}
    </>
  )
}

function Better({ decision }: { readonly decision: DecisionView }): ReactElement | null {
  const better = bestUnlock(decision)
  if (better === undefined) return null
  return (
    <p className="tile-fact tile-unlock">
      <Icon name="unlock" />
      <span>
        {unlockSummary(better.unlock)} <Leads /> {better.opens}
      </span>
    </p>
  )
}

/** The first change that would give a mode which the workspace prefers, or the first that opens it at all. */
function bestUnlock({ refused }: DecisionView): { unlock: Unlock; opens: string } | undefined {
  for (const { mode, unlocks, deliverable } of refused) {
    const [unlock] = unlocks
    if (deliverable && unlock !== undefined) return { unlock, opens: openedName(mode) }
  }
  return undefined
}

/** In words for whoever has never heard of modes: `runs on this computer, in a virtual machine`. */
function openedName(mode: DeliveryMode): string {
  const words = modeSentences[mode]
  return words.charAt(0).toLowerCase() + words.slice(1)
}

/** A refusal is shown by the tile itself, which holds the newer decision by then. */
function isDecision(error: unknown): boolean {
  return error instanceof ApiError && error.decision !== undefined
}
