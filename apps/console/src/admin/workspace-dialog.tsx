import { type FormEvent, type ReactElement, useState } from 'react'
import type { WorkspaceDefinition } from '#core/api/admin.ts'
import type { DeliveryMode } from '#core/trust/words.ts'
import { adminApi } from '../api/api.ts'
import { Dialog, DialogFoot } from '../ui/dialog.tsx'
import { formValue, TextField, words } from '../ui/fields.tsx'
import { Problem } from '../ui/message.tsx'
import { useAction } from '../ui/use-action.ts'
import { DiskFields, diskFrom } from './disk-fields.tsx'
import { ModeOrder } from './mode-order.tsx'

/** Adds or changes a workspace. */
export function WorkspaceDialog(props: {
  readonly workspace: WorkspaceDefinition | undefined
  readonly onClose: () => void
  readonly onSaved: () => void
}): ReactElement {
  const { workspace } = props
  const [modes, setModes] = useState<readonly DeliveryMode[]>(workspace?.modes ?? ['hosted-shared'])
  const [kind, setKind] = useState(workspace?.program.kind ?? 'application')
  const { busy, error, run } = useAction()
  const command = workspace?.program.kind === 'application' ? workspace.program.command : []

  function submit(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault()
    const definition = definitionFrom(new FormData(event.currentTarget), workspace?.id, kind, modes)
    run(async () => {
      await adminApi.replaceWorkspace(definition)
      props.onSaved()
      props.onClose()
    })
  }

  return (
    <Dialog
      title={workspace === undefined ? 'Add a workspace' : `Edit ${workspace.name}`}
      onClose={props.onClose}
    >
      <form onSubmit={submit}>
        <div className="dialog-body">
          {workspace === undefined && (
            <TextField
              label="Identifier"
              name="id"
              required
              pattern="[a-z][a-z0-9\-]{0,39}"
              title="Lower-case letters, digits and dashes, 40 at most"
              hint="The policy and the audit log know it by this. It cannot be changed later."
              autoComplete="off"
              spellCheck={false}
            />
          )}
          <TextField label="Name" name="name" defaultValue={workspace?.name} required maxLength={100} />
          <TextField
            label="Description"
            name="description"
            defaultValue={workspace?.description}
            maxLength={500}
          />
          <TextField
            label="Icon"
            name="icon"
            defaultValue={workspace?.icon ?? 'application'}
            maxLength={40}
            hint="desktop, application, terminal, document, browser, chart, education or health"
          />
          <fieldset className="choices">
            <legend>Program</legend>
            {(['desktop', 'application'] as const).map((value) => (
              <label key={value}>
                <input
                  type="radio"
                  name="kind"
                  value={value}
                  checked={kind === value}
                  onChange={() => setKind(value)}
                />
                {value === 'desktop' ? 'A whole desktop' : 'One application'}
              </label>
            ))}
          </fieldset>
          {kind === 'application' && (
            <TextField
              label="Command"
              name="command"
              defaultValue={command.join(' ')}
              required
              className="mono"
              hint="As it starts on the host, its arguments separated by spaces."
              autoComplete="off"
              spellCheck={false}
            />
          )}
          <ModeOrder modes={modes} onChange={setModes} />
          {needsDisk(modes) && (
            <DiskFields disk={workspace?.disk} startsApplication={modes.includes('streamed-disk')} />
          )}
          <TextField
            label="Pool"
            name="pool"
            defaultValue={workspace?.pool ?? 'default'}
            required
            hint="The hosts that serve it: those that were enrolled into this pool."
            autoComplete="off"
            spellCheck={false}
          />
          <TextField
            label="Collections"
            name="collections"
            defaultValue={workspace?.collections.join(' ')}
            hint="Names by which the policy groups workspaces, separated by spaces."
            autoComplete="off"
            spellCheck={false}
          />
          {error !== undefined && <Problem error={error} />}
        </div>
        <DialogFoot onClose={props.onClose}>
          <button type="submit" className="button button-primary" disabled={busy || modes.length === 0}>
            {workspace === undefined ? 'Add' : 'Save'}
          </button>
        </DialogFoot>
      </form>
    </Dialog>
  )
}

function needsDisk(modes: readonly DeliveryMode[]): boolean {
  return modes.includes('streamed-disk') || modes.includes('local-vm')
}

function definitionFrom(
  form: FormData,
  id: string | undefined,
  kind: 'desktop' | 'application',
  modes: readonly DeliveryMode[],
): WorkspaceDefinition {
  return {
    id: id ?? formValue(form, 'id'),
    name: formValue(form, 'name').trim(),
    description: formValue(form, 'description').trim(),
    icon: formValue(form, 'icon').trim(),
    pool: formValue(form, 'pool').trim(),
    modes: [...modes],
    collections: words(formValue(form, 'collections')),
    program: kind === 'desktop' ? { kind } : { kind, command: words(formValue(form, 'command')) },
    ...(needsDisk(modes) ? { disk: diskFrom(form) } : {}),
  }
}
