import { type FormEvent, type ReactElement, useState } from 'react'
import type { WorkspaceDefinition } from '#core/api/admin.ts'
import type { DecisionView } from '#core/api/words.ts'
import { api } from '../api/api.ts'
import { DecisionDetails } from '../ui/decision-details.tsx'
import { Dialog } from '../ui/dialog.tsx'
import { formValue, TextField } from '../ui/fields.tsx'
import { Problem } from '../ui/message.tsx'
import { useAction } from '../ui/use-action.ts'

/** Asks the policy what somebody would get, without launching anything. */
export function ExplainDialog(props: {
  readonly workspace: WorkspaceDefinition
  readonly onClose: () => void
}): ReactElement {
  const { workspace, onClose } = props
  const [decision, setDecision] = useState<DecisionView>()
  const { busy, error, run } = useAction()

  function submit(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault()
    const form = new FormData(event.currentTarget)
    const asked = [
      ['user', formValue(form, 'user').trim()],
      ['from', formValue(form, 'from').trim()],
    ].filter(([, value]) => value !== '')
    run(async () => {
      setDecision(undefined)
      setDecision((await api.explain({ workspace: workspace.id, ...Object.fromEntries(asked) })).decision)
    }, event.currentTarget)
  }

  return (
    <Dialog title={`Who gets ${workspace.name}, and how?`} onClose={onClose} wide isTransient>
      <form className="dialog-body" role="search" onSubmit={submit}>
        <div className="field-row">
          <TextField
            label="User name"
            name="user"
            placeholder="yourself"
            autoComplete="off"
            spellCheck={false}
          />
          <TextField
            label="From address"
            name="from"
            placeholder="as now"
            autoComplete="off"
            spellCheck={false}
          />
          <button type="submit" className="button button-primary" disabled={busy}>
            Ask the policy
          </button>
        </div>
        <div role="status">
          {decision !== undefined && <DecisionDetails decision={decision} heading="h3" />}
        </div>
        {error !== undefined && <Problem error={error} />}
      </form>
    </Dialog>
  )
}
