import { type ReactElement, useState } from 'react'
import { usePerson } from '../../person-context.ts'
import { useNow } from '../../ui/use-resource.ts'
import { ago, channelNames } from '../../words.ts'
import type { Channel, Family } from './families.ts'
import { PromoteDialog } from './promote-dialog.tsx'

/** Where a channel points, and how far a wave has come. */
export function ChannelCard(props: {
  readonly family: Family
  readonly kind: Channel['channel']
  readonly groups: readonly string[]
  readonly onChange: () => void
}): ReactElement {
  const { family, kind } = props
  const { me } = usePerson()
  const now = useNow()
  const [promoting, setPromoting] = useState(false)
  const channel = family.channels.find((each) => each.channel === kind)
  const next = channel?.next
  const newest = family.releases[0]
  const isUpToDate = channel !== undefined && next === undefined && channel.current === newest?.version
  return (
    <div className="channel">
      <header className="channel-head">
        <h3>{channelNames[kind]}</h3>
        {me.admin && newest !== undefined && !isUpToDate && (
          <button
            type="button"
            className="button button-small"
            aria-label={`${next === undefined ? 'Promote to' : 'Change the wave of'} ${kind} of ${family.name}`}
            onClick={() => setPromoting(true)}
          >
            {next === undefined ? 'Promote' : 'Change the wave'}
          </button>
        )}
      </header>
      {channel === undefined ? (
        <p className="muted">Points at nothing yet.</p>
      ) : (
        <>
          <p className="channel-line">
            <strong>{channel.current}</strong>
            <span className="muted">
              {next === undefined ? 'for everybody' : `for the others, ${100 - next.wave.percent} %`}
            </span>
          </p>
          {next !== undefined && <Wave next={next} />}
          <p className="muted small">Changed {ago(channel.changedAt, now)}</p>
        </>
      )}
      {promoting && (
        <PromoteDialog
          family={family}
          kind={kind}
          {...(next === undefined ? {} : { version: next.version })}
          groups={props.groups}
          onClose={() => setPromoting(false)}
          onDone={props.onChange}
        />
      )}
    </div>
  )
}

function Wave({ next }: { readonly next: NonNullable<Channel['next']> }): ReactElement {
  const { version, wave } = next
  const first = [
    ...wave.groups.map((group) => `group ${group}`),
    ...(wave.endpoints.length === 0 ? [] : [`${wave.endpoints.length} endpoints by name`]),
  ]
  return (
    <>
      <p className="channel-line">
        <strong>{version}</strong>
        <span className="muted">
          for {wave.percent} % of endpoints{first.length > 0 && `, first ${first.join(', ')}`}
        </span>
      </p>
      <meter min={0} max={100} value={wave.percent} aria-label={`Endpoints that get ${version}, percent`} />
    </>
  )
}
