import { type FormEvent, type ReactElement, useState } from 'react'
import { imagesApi } from '../../api/images-api.ts'
import { Dialog, DialogFoot } from '../../ui/dialog.tsx'
import { formValue, SelectField, TextField, words } from '../../ui/fields.tsx'
import { Problem } from '../../ui/message.tsx'
import { useAction } from '../../ui/use-action.ts'
import { channelNames } from '../../words.ts'
import type { Channel, Family } from './families.ts'

/** Points a channel at a release, for everybody or as a wave; or lets a wave grow. */
export function PromoteDialog(props: {
  readonly family: Family
  readonly kind: Channel['channel']
  /** Undefined for the newest. */
  readonly version?: string
  /** Of endpoints, as far as this site knows any. */
  readonly groups: readonly string[]
  readonly onClose: () => void
  readonly onDone: () => void
}): ReactElement {
  const { family } = props
  const [kind, setKind] = useState(props.kind)
  const channel = family.channels.find((each) => each.channel === kind)
  const offered = releasesFor(family, channel)
  const [chosen, setChosen] = useState(props.version ?? '')
  const version = offered.includes(chosen) ? chosen : (offered[0] ?? '')
  const wave = channel?.next?.version === version ? channel.next.wave : undefined
  const [inWaves, setInWaves] = useState(props.version !== undefined && wave !== undefined)
  const mayWave = channel !== undefined
  const { busy, error, run } = useAction()

  function submit(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault()
    const form = new FormData(event.currentTarget)
    const percent = Number(formValue(form, 'percent'))
    const groups = words(formValue(form, 'groups'))
    run(async () => {
      const body = inWaves && mayWave ? { version, wave: { groups, endpoints: [], percent } } : { version }
      await imagesApi.promote(family.name, kind, body)
      props.onDone()
      props.onClose()
    }, event.currentTarget)
  }

  return (
    <Dialog
      title={wave === undefined ? `Promote ${family.name}` : `Wave of ${family.name}:${version}`}
      onClose={props.onClose}
    >
      <form onSubmit={submit}>
        <div className="dialog-body">
          <fieldset className="choices">
            <legend>Channel</legend>
            {(['test', 'production'] as const).map((each) => (
              <label key={each}>
                <input
                  type="radio"
                  name="channel"
                  value={each}
                  checked={kind === each}
                  onChange={() => setKind(each)}
                />
                {channelNames[each]}
              </label>
            ))}
          </fieldset>
          <SelectField
            label="Release"
            name="release"
            value={version}
            options={offered.map((each) => ({ value: each, label: labelOf(each, channel) }))}
            onChange={(event) => setChosen(event.target.value)}
            hint="A channel only goes forward. To go back, roll back: that is a release of its own."
          />
          <fieldset className="choices choices-list">
            <legend>Who gets it</legend>
            <label>
              <input
                type="radio"
                name="who"
                checked={!inWaves || !mayWave}
                onChange={() => setInWaves(false)}
              />
              Everybody at once
            </label>
            <label>
              <input
                type="radio"
                name="who"
                disabled={!mayWave}
                checked={inWaves && mayWave}
                onChange={() => setInWaves(true)}
              />
              A wave: some first
            </label>
            {!mayWave && <p className="hint">The first release of a channel goes to everybody.</p>}
          </fieldset>
          {inWaves && mayWave && <WaveFields key={`${kind} ${version}`} wave={wave} groups={props.groups} />}
          {error !== undefined && <Problem error={error} />}
        </div>
        <DialogFoot>
          <button type="submit" className="button button-primary" disabled={busy || version === ''}>
            {wave !== undefined && inWaves ? 'Change the wave' : 'Promote'}
          </button>
        </DialogFoot>
      </form>
    </Dialog>
  )
}

function WaveFields(props: {
  readonly wave: NonNullable<Channel['next']>['wave'] | undefined
  readonly groups: readonly string[]
}): ReactElement {
  const { wave, groups } = props
  const least = wave?.percent ?? 0
  return (
    <>
      <TextField
        label="Canary groups"
        name="groups"
        defaultValue={wave?.groups.join(' ') ?? ''}
        hint={`They get it first, all of them. ${groups.length === 0 ? 'No endpoint is in a group yet.' : `There are: ${groups.join(', ')}.`}`}
        autoComplete="off"
        spellCheck={false}
      />
      <TextField
        label="Percent of the other endpoints"
        name="percent"
        type="number"
        inputMode="numeric"
        min={least}
        max={100}
        step={1}
        required
        defaultValue={wave === undefined ? 5 : least}
        hint={
          least === 0
            ? 'At 100 the wave is over and the release is everybody’s.'
            : `${least} % have it already: a wave only grows. At 100 it is over.`
        }
      />
    </>
  )
}

/** Those that the channel has not gone past, the newest first. */
function releasesFor({ releases }: Family, channel: Channel | undefined): readonly string[] {
  const reached = channel?.next?.version ?? channel?.current
  const at = releases.findIndex(({ version }) => version === reached)
  return releases.slice(0, at === -1 ? releases.length : at + 1).map(({ version }) => version)
}

function labelOf(version: string, channel: Channel | undefined): string {
  if (channel?.next?.version === version) return `${version}, in a wave now`
  return channel?.current === version ? `${version}, everybody has it` : version
}
