import { type FormEvent, type ReactElement, useState } from 'react'
import { type TimelineTopic, timelineTopics } from '#core/api/data.ts'
import { Dialog, DialogFoot } from '../../ui/dialog.tsx'
import { formValue, SelectField, TextField } from '../../ui/fields.tsx'
import { type About, TimelineDialog } from './timeline-dialog.tsx'

const topicNames: Readonly<Record<TimelineTopic, string>> = {
  workspace: 'Workspace',
  person: 'Person',
  endpoint: 'Endpoint',
  host: 'Host',
  session: 'Session',
  lease: 'Lease',
}

/** The way to the time line of what is on no list any more: a workspace or person that was deleted, a session that is over. */
export function FindTimeline(): ReactElement {
  const [isAsking, setAsking] = useState(false)
  const [about, setAbout] = useState<About>()
  function submit(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault()
    const form = new FormData(event.currentTarget)
    const id = formValue(form, 'name').trim()
    const topic = timelineTopics.find((one) => one === formValue(form, 'topic')) ?? 'workspace'
    setAsking(false)
    setAbout({ topic, id, name: id })
  }
  return (
    <>
      <button type="button" className="button" onClick={() => setAsking(true)}>
        Find a time line
      </button>
      {isAsking && (
        <Dialog title="Find a time line" onClose={() => setAsking(false)} isTransient>
          <form role="search" onSubmit={submit}>
            <div className="dialog-body">
              <SelectField
                label="Of a"
                name="topic"
                options={timelineTopics.map((value) => ({ value, label: topicNames[value] }))}
              />
              <TextField
                label="Identifier or user name"
                name="name"
                required
                maxLength={100}
                hint="Also of what was deleted; of a machine its name."
                autoComplete="off"
                autoCapitalize="none"
                spellCheck={false}
              />
            </div>
            <DialogFoot>
              <button type="submit" className="button button-primary">
                Show
              </button>
            </DialogFoot>
          </form>
        </Dialog>
      )}
      {about !== undefined && <TimelineDialog choices={[about]} onClose={() => setAbout(undefined)} />}
    </>
  )
}
