import { type ReactElement, useId, useState } from 'react'
import type { WorkspaceView } from '#core/api/person.ts'
import type { Unlock } from '#core/api/words.ts'
import { ApiError } from '../api/errors.ts'
import { DecisionDetails, Leads } from '../ui/decision-details.tsx'
import { Icon, workspaceIcon } from '../ui/icons.tsx'
import { Problem } from '../ui/message.tsx'
import type { Action } from '../ui/use-action.ts'
import {
  modeNames,
  modeSentences,
  placeSentences,
  restrictionName,
  sentence,
  unlockSummary,
} from '../words.ts'

/** One workspace: what it is, how it would be delivered, what is withheld, and why. */
export function WorkspaceTile(props: {
  readonly workspace: WorkspaceView
  /** Name of the person's endpoint that has it open, if one has. */
  readonly runsOn: string | undefined
  readonly action: Action
  readonly onOpen: () => void
}): ReactElement {
  const { workspace, action } = props
  const { outcome, refused } = workspace.decision
  const [why, setWhy] = useState(false)
  const id = useId()
  const better = bestUnlock(workspace)
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
          <span>
            {sentence(refused[0]?.reason ?? 'no policy permits it')}
            {refused[0]?.code === 'NO_ENDPOINT' && <OnlyOnEndpoint workspaceId={workspace.id} />}
          </span>
        </p>
      ) : (
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
      )}
      {props.runsOn !== undefined && (
        <p className="tile-fact">
          <Icon name="info" />
          <span>It is open on {props.runsOn}. Go on there, or end it to open it here.</span>
        </p>
      )}
      {better !== undefined && (
        <p className="tile-fact tile-unlock">
          <Icon name="unlock" />
          <span>
            {unlockSummary(better.unlock)} <Leads /> {better.opens}
          </span>
        </p>
      )}

      {action.error !== undefined && !isDecision(action.error) && <Problem error={action.error} />}
      <footer className="tile-foot">
        {outcome !== undefined && props.runsOn === undefined && (
          <button
            type="button"
            className="button button-primary"
            disabled={action.busy}
            aria-describedby={`${id}-name`}
            onClick={props.onOpen}
          >
            {openLabel(workspace, action.busy)}
          </button>
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
        <DecisionDetails decision={workspace.decision} />
      </div>
    </article>
  )
}

/** A browser cannot hold a disk: where it can be opened, and how. */
function OnlyOnEndpoint({ workspaceId }: { readonly workspaceId: string }): ReactElement {
  return (
    <span className="muted">
      {' '}
      Its disk streams to an enrolled device, and a browser cannot hold it. There, open it with{' '}
      <code className="mono">trustcast launch {workspaceId}</code>.
    </span>
  )
}

function openLabel(workspace: WorkspaceView, busy: boolean): string {
  if (busy) return 'Opening…'
  return workspace.sessionId === undefined ? 'Open' : 'Reconnect'
}

/** The first change that would give a mode which the workspace prefers, or the first that opens it at all. */
function bestUnlock({ decision }: WorkspaceView): { unlock: Unlock; opens: string } | undefined {
  for (const { mode, unlocks, deliverable } of decision.refused) {
    const [unlock] = unlocks
    if (deliverable && unlock !== undefined) return { unlock, opens: modeNames[mode].toLowerCase() }
  }
  return undefined
}

/** A refusal is shown by the tile itself, which holds the newer decision by then. */
function isDecision(error: unknown): boolean {
  return error instanceof ApiError && error.decision !== undefined
}
