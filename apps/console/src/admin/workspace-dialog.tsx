import { type FormEvent, type ReactElement, useState } from 'react'
import type { WorkspaceDefinition } from '#core/api/admin.ts'
import type { DeliveryMode } from '#core/trust/words.ts'
import { adminApi } from '../api/api.ts'
import { Dialog } from '../ui/dialog.tsx'
import { formValue, LinesField, TextField, words } from '../ui/fields.tsx'
import { Problem, Waiting } from '../ui/message.tsx'
import { type Facts, isConflict, Overtaken, overtakingOf, SaveFoot } from '../ui/overtaken.tsx'
import { useAction } from '../ui/use-action.ts'
import { useResource } from '../ui/use-resource.ts'
import { channelNames, modeNames } from '../words.ts'
import { commandOf, linesOf } from './command-lines.ts'
import { DeleteInstead } from './delete-dialog.tsx'
import { DiskFields, diskFrom } from './disk-fields.tsx'
import { ModeOrder } from './mode-order.tsx'

/** Adds a workspace. */
export function AddWorkspace(props: {
  readonly onClose: () => void
  readonly onSaved: () => void
}): ReactElement {
  return (
    <Dialog title="Add a workspace" onClose={props.onClose}>
      <WorkspaceForm workspace={undefined} {...props} />
    </Dialog>
  )
}

/** Changes a workspace, as it is when this opens. */
export function EditWorkspace(props: {
  readonly id: string
  readonly name: string
  readonly onClose: () => void
  readonly onSaved: () => void
  readonly onDelete: () => void
}): ReactElement {
  const { data, error, reload } = useResource(() => adminApi.workspace(props.id))
  const [began, setBegan] = useState<Tagged>()
  if (began === undefined && data !== undefined) setBegan(data)
  return (
    <Dialog title={`Edit ${props.name}`} onClose={props.onClose}>
      {data === undefined || began === undefined ? (
        <div className="dialog-body">
          {error === undefined ? (
            <Waiting label="Loading the workspace" />
          ) : (
            <Problem error={error} retry={reload} />
          )}
        </div>
      ) : (
        <WorkspaceForm
          key={began.tag}
          workspace={began}
          now={data}
          onTakeTheirs={() => setBegan(data)}
          onRefused={reload}
          {...props}
        />
      )}
    </Dialog>
  )
}

type Tagged = WorkspaceDefinition & { readonly tag: string }

function WorkspaceForm(props: {
  /** As it was when this was begun; undefined for a new one. */
  readonly workspace: Tagged | undefined
  /** As it is now. */
  readonly now?: Tagged
  readonly onTakeTheirs?: () => void
  readonly onClose: () => void
  readonly onSaved: () => void
  /** What is there now may be another than this form began with. */
  readonly onRefused?: () => void
  readonly onDelete?: () => void
}): ReactElement {
  const { workspace, now } = props
  const [modes, setModes] = useState<readonly DeliveryMode[]>(workspace?.modes ?? ['hosted-shared'])
  const [kind, setKind] = useState(workspace?.program.kind ?? 'application')
  const { busy, error, run } = useAction()
  const command = workspace?.program.kind === 'application' ? workspace.program.command : []
  const overtaking = overtakingOf(workspace && factsOf(workspace), now && factsOf(now))

  function submit(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault()
    const form = new FormData(event.currentTarget)
    const definition = definitionFrom(form, workspace?.id, kind, modes, command)
    run(async () => {
      try {
        await adminApi.defineWorkspace(definition, now?.tag ?? 'new')
      } catch (error) {
        props.onRefused?.()
        throw error
      }
      props.onSaved()
      props.onClose()
    }, event.currentTarget)
  }

  return (
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
          <LinesField
            label="Command"
            name="command"
            defaultValue={linesOf(command)}
            required
            rows={Math.max(3, command.length)}
            className="mono"
            hint="As it starts on the host: the program, then each argument on a line of its own."
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
        {overtaking !== undefined && <Overtaken {...overtaking} />}
        {error !== undefined && !(overtaking !== undefined && isConflict(error)) && <Problem error={error} />}
      </div>
      <SaveFoot
        overtaking={overtaking}
        save={workspace === undefined ? 'Add' : 'Save'}
        disabled={busy}
        onTakeTheirs={() => props.onTakeTheirs?.()}
        apart={props.onDelete && <DeleteInstead onDelete={props.onDelete} />}
      />
    </form>
  )
}

function needsDisk(modes: readonly DeliveryMode[]): boolean {
  return modes.includes('streamed-disk') || modes.includes('local-vm')
}

function factsOf({ name, description, icon, pool, modes, collections, program, disk }: Tagged): Facts {
  return {
    Name: name,
    Description: description,
    Icon: icon,
    Program: program.kind === 'desktop' ? 'A whole desktop' : program.command.join(' '),
    'Delivered as': modes.map((mode) => modeNames[mode]).join(', else '),
    ...(disk && { Image: [disk.image, channelNames[disk.channel], disk.application ?? ''].join(' ') }),
    Pool: pool,
    Collections: collections.join(' '),
  }
}

function definitionFrom(
  form: FormData,
  id: string | undefined,
  kind: 'desktop' | 'application',
  modes: readonly DeliveryMode[],
  command: readonly string[],
): WorkspaceDefinition {
  return {
    id: id ?? formValue(form, 'id'),
    name: formValue(form, 'name').trim(),
    description: formValue(form, 'description').trim(),
    icon: formValue(form, 'icon').trim(),
    pool: formValue(form, 'pool').trim(),
    modes: [...modes],
    collections: words(formValue(form, 'collections')),
    program:
      kind === 'desktop' ? { kind } : { kind, command: commandOf(formValue(form, 'command'), command) },
    ...(needsDisk(modes) ? { disk: diskFrom(form) } : {}),
  }
}
