import { type ReactElement, useId } from 'react'
import { type DeliveryMode, deliveryModes } from '#core/trust/words.ts'
import { FieldProblem, useProblem } from '../ui/fields.tsx'
import { Icon } from '../ui/icons.tsx'
import { modeNames } from '../words.ts'

/** Which modes a workspace offers, the preferred one first. */
export function ModeOrder(props: {
  readonly modes: readonly DeliveryMode[]
  readonly onChange: (modes: readonly DeliveryMode[]) => void
}): ReactElement {
  const { modes, onChange } = props
  const others = deliveryModes.filter((mode) => !modes.includes(mode))
  const raise = (mode: DeliveryMode): void => {
    const at = modes.indexOf(mode)
    onChange(modes.with(at - 1, mode).with(at, modes[at - 1] ?? mode))
  }
  const id = useId()
  const { problem, checks } = useProblem<HTMLInputElement>('Delivered as')
  return (
    <fieldset className="choices choices-list" aria-describedby={problem && `${id}-problem`}>
      <legend>Delivered as, the preferred first</legend>
      {problem !== undefined && <FieldProblem id={`${id}-problem`}>{problem}</FieldProblem>}
      {[...modes, ...others].map((mode, at) => (
        <div key={mode} className="mode-row">
          <label>
            <input
              type="checkbox"
              name="modes"
              value={mode}
              {...checks}
              ref={(box) => {
                const isNone = at === 0 && modes.length === 0
                box?.setCustomValidity(isNone ? 'Choose at least one way in which it is delivered.' : '')
              }}
              aria-invalid={problem !== undefined || undefined}
              aria-describedby={problem && `${id}-problem`}
              checked={modes.includes(mode)}
              onChange={({ target }) =>
                onChange(target.checked ? [...modes, mode] : modes.filter((each) => each !== mode))
              }
            />
            {modeNames[mode]}
          </label>
          {modes.indexOf(mode) > 0 && (
            <button
              type="button"
              className="button-icon mode-up"
              aria-label={`Prefer ${modeNames[mode]} more`}
              onClick={() => raise(mode)}
            >
              <Icon name="chevron" />
            </button>
          )}
        </div>
      ))}
    </fieldset>
  )
}
