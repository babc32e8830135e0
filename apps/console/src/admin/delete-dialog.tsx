import { type FormEvent, type ReactElement, useState } from 'react'
import type { DeletionView } from '#core/api/admin.ts'
import { outlookSentences } from '#core/data/index.ts'
import { adminApi } from '../api/api.ts'
import { Dialog, DialogFoot } from '../ui/dialog.tsx'
import { Problem, Waiting } from '../ui/message.tsx'
import { useAction } from '../ui/use-action.ts'
import { useResource } from '../ui/use-resource.ts'
import { size } from '../words.ts'

interface DeleteProps {
  /** Of the person or workspace, as the API has it. */
  readonly path: string
  readonly name: string
  /** What else to say of it. */
  readonly warning: string
  readonly onClose: () => void
  readonly onDeleted: () => void
}

/** Says what deleting a person or workspace leads to, asks what becomes of what was written, and does it. */
export function DeleteDialog(props: DeleteProps): ReactElement {
  const { data, error, reload } = useResource(() => adminApi.deletion(props.path))
  return (
    <Dialog title={`Delete ${props.name}?`} onClose={props.onClose} isTransient>
      {data === undefined ? (
        <div className="dialog-body">
          {error === undefined ? (
            <Waiting label="Looking what that leads to" />
          ) : (
            <Problem error={error} retry={reload} />
          )}
        </div>
      ) : (
        <DeleteForm outlook={data} onRefused={reload} {...props} />
      )}
    </Dialog>
  )
}

/** In the foot of a dialog that changes it. */
export function DeleteInstead({ onDelete }: { readonly onDelete: () => void }): ReactElement {
  return (
    <button type="button" className="button button-danger" onClick={onDelete}>
      Delete…
    </button>
  )
}

const fates = [
  ['keep', 'Keep what was written, sealed'],
  ['discard', 'Discard it, on devices and hosts as soon as they hear of that'],
] as const

function DeleteForm(
  props: DeleteProps & {
    readonly outlook: DeletionView & { readonly tag: string }
    readonly onRefused: () => void
  },
): ReactElement {
  const { outlook, path } = props
  const [fate, setFate] = useState<'keep' | 'discard'>('keep')
  const { busy, error, run } = useAction()

  function submit(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault()
    run(async () => {
      try {
        await adminApi.remove(path, fate, outlook.tag)
      } catch (error) {
        props.onRefused()
        throw error
      }
      props.onDeleted()
    })
  }

  return (
    <form onSubmit={submit}>
      <div className="dialog-body">
        <p>This cannot be undone. {props.warning}</p>
        <fieldset className="choices choices-list">
          <legend>Data</legend>
          {fates.map(([value, label]) => (
            <label key={value}>
              <input
                type="radio"
                name="data"
                value={value}
                checked={fate === value}
                onChange={() => setFate(value)}
              />
              {label}
            </label>
          ))}
        </fieldset>
        <ul aria-label="What happens">
          {outlookSentences(outlook, fate, size).map((sentence) => (
            <li key={sentence}>{sentence}</li>
          ))}
        </ul>
        {error !== undefined && <Problem error={error} />}
      </div>
      <DialogFoot>
        <button type="submit" className="button button-danger" disabled={busy}>
          {busy ? 'Deleting…' : 'Delete'}
        </button>
      </DialogFoot>
    </form>
  )
}
