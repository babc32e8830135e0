import type { ReactElement } from 'react'
import { DataTable } from './data-table.tsx'
import { DialogFoot } from './dialog.tsx'
import { Icon } from './icons.tsx'
import { describe } from './message.tsx'

/** What can be said of a thing, by what it is called. */
export type Facts = Readonly<Record<string, string>>

/** What was begun from one state of a thing that is in another by now. */
export interface Overtaking {
  readonly was: Facts
  /** Undefined when it was removed. */
  readonly is: Facts | undefined
}

/** @returns undefined when nothing that is shown has changed */
export function overtakingOf(was: Facts | undefined, is: Facts | undefined): Overtaking | undefined {
  return was === undefined || JSON.stringify(was) === JSON.stringify(is) ? undefined : { was, is }
}

/** Shows what somebody else has changed meanwhile: whoever saves now chooses between the two. */
export function Overtaken({ was, is }: Overtaking): ReactElement {
  return (
    <div className="notice notice-warn" role="alert">
      <Icon name="warning" />
      <div className="grow overtaken">
        {is === undefined ? (
          <p>Somebody else has removed it meanwhile. Saving yours brings it back.</p>
        ) : (
          <>
            <p>Somebody else has changed this meanwhile. Saving yours undoes it:</p>
            <DataTable
              label="Changed meanwhile"
              rows={Object.keys({ ...was, ...is })
                .filter((name) => was[name] !== is[name])
                .map((name) => ({
                  key: name,
                  cells: { What: name, 'When you began': was[name] ?? '', Now: is[name] ?? '' },
                }))}
            />
          </>
        )}
      </div>
    </div>
  )
}

/** Saves; over what somebody else has changed only when the person has chosen that. */
export function SaveFoot(props: {
  readonly overtaking: Overtaking | undefined
  /** What the button says where nobody else has changed anything. */
  readonly save: string
  readonly disabled: boolean
  readonly onTakeTheirs: () => void
  readonly apart?: ReactElement | undefined
}): ReactElement {
  const { overtaking, save, disabled, onTakeTheirs, apart } = props
  return (
    <DialogFoot {...(apart === undefined ? {} : { apart })}>
      {overtaking !== undefined && (
        <button type="button" className="button" disabled={disabled} onClick={onTakeTheirs}>
          Discard mine
        </button>
      )}
      <button
        type="submit"
        className={overtaking === undefined ? 'button button-primary' : 'button button-danger'}
        disabled={disabled}
      >
        {overtaking === undefined ? save : 'Save mine over it'}
      </button>
    </DialogFoot>
  )
}

/** Whether an error says no more than `Overtaken` shows. */
export function isConflict(error: unknown): boolean {
  return describe(error).code === 'CONFLICT'
}
