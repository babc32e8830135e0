import type { ReactElement } from 'react'
import { type DeliveryMode, deliveryModes } from '#core/trust/words.ts'
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
  return (
    <fieldset className="choices choices-list">
      <legend>Delivered as, the preferred first</legend>
      {[...modes, ...others].map((mode) => (
        <div key={mode} className="mode-row">
          <label>
            <input
              type="checkbox"
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
