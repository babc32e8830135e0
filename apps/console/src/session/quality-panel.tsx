import type { ReactElement } from 'react'
import { type LinkQuality, qualityNames } from './quality.ts'
import type { Quality } from './use-quality.ts'

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
  readonly quality: Quality
  readonly rttMs: number | undefined
}): ReactElement {
  const { quality, rttMs } = props
  return (
    <section className="panel" aria-label="Picture quality">
      <p>
        Connection: <strong>{qualityNames[quality.quality]}</strong>
        {rttMs !== undefined && <span className="muted"> · {Math.round(rttMs)} ms to the host and back</span>}
      </p>
      <fieldset className="choices choices-list">
        <legend>Picture</legend>
        {choices.map(({ value, label, hint }) => (
          <label key={label}>
            <input
              type="radio"
              name="quality"
              checked={quality.chosen === value}
              onChange={() => quality.choose(value)}
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
