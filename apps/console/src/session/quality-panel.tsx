import type { ReactElement } from 'react'
import { type LinkQuality, qualityNames } from './quality.ts'
import type { LinkState } from './screen-link.ts'
import type { QualityChoice } from './use-quality.ts'

const choices: readonly {
  readonly value: LinkQuality | undefined
  readonly label: string
  readonly hint: string
}[] = [
  { value: undefined, label: 'Automatic', hint: 'follows the connection' },
  { value: 'good', label: 'Sharp', hint: 'for fast networks' },
  { value: 'wan', label: 'Balanced', hint: 'for home and mobile networks' },
  { value: 'poor', label: 'Light', hint: 'least data, for slow networks' },
]

export function QualityPanel(props: {
  readonly state: Pick<LinkState, 'quality' | 'rttMs'>
  readonly choice: QualityChoice
}): ReactElement {
  const { choice } = props
  const { quality, rttMs } = props.state
  return (
    <section className="panel" aria-label="Picture quality">
      <p>
        Connection: <strong>{qualityNames[quality]}</strong>
        {rttMs !== undefined && <span className="muted"> · {Math.round(rttMs)} ms to the host and back</span>}
      </p>
      <fieldset className="choices choices-list">
        <legend>Picture</legend>
        {choices.map(({ value, label, hint }) => (
          <label key={label}>
            <input
              type="radio"
              name="quality"
              checked={choice.chosen === value}
              onChange={() => choice.choose(value)}
            />
            <span>
              {label} <span className="muted">{hint}</span>
            </span>
          </label>
        ))}
      </fieldset>
    </section>
  )
}
