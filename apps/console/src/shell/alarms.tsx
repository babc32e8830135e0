import type { ReactElement } from 'react'
import type { AlarmView } from '#core/api/evidence.ts'
import { evidenceApi } from '../api/evidence-api.ts'
import { usePerson } from '../person-context.ts'
import { Problem } from '../ui/message.tsx'
import { useAction } from '../ui/use-action.ts'
import { useInterval, useResource } from '../ui/use-resource.ts'

const lookMs = 5_000

/** What an admin has to look at, on every page until it is over. */
export function Alarms(): ReactElement {
  const { data, reload } = useResource(evidenceApi.alarms)
  useInterval(reload, lookMs)
  return (
    <div role="alert">
      {data?.alarms.map((alarm) => (
        <Alarm key={alarm.id} alarm={alarm} onChange={reload} />
      ))}
    </div>
  )
}

function Alarm({
  alarm,
  onChange,
}: {
  readonly alarm: AlarmView
  readonly onChange: () => void
}): ReactElement {
  const { me } = usePerson()
  const { busy, error, run } = useAction()
  const { id, kind, message, remedy, acknowledged } = alarm
  const after = (deed: () => Promise<unknown>) => () =>
    run(async () => {
      await deed()
      onChange()
    })
  return (
    <section className="alarm" aria-label="Alarm">
      <div>
        <strong>{message}.</strong> {remedy}
        {acknowledged !== undefined && <span className="small"> {acknowledged.by} looks after it.</span>}
        {error !== undefined && <Problem error={error} />}
      </div>
      {me.admin && (
        <div className="alarm-deeds">
          {acknowledged === undefined && (
            <button
              type="button"
              className="button button-small"
              disabled={busy}
              onClick={after(() => evidenceApi.acknowledge(id))}
            >
              I look after it
            </button>
          )}
          {kind === 'brake' && (
            <button
              type="button"
              className="button button-small"
              disabled={busy}
              onClick={after(() => evidenceApi.lift(id))}
            >
              The falls are real: follow the policy now
            </button>
          )}
        </div>
      )}
    </section>
  )
}
