import { type FormEvent, type ReactElement, useState } from 'react'
import type { EndpointView } from '#core/api/lease.ts'
import { endpointsApi } from '../api/endpoints-api.ts'
import { Dialog, DialogFoot } from '../ui/dialog.tsx'
import { formValue, TextField } from '../ui/fields.tsx'
import { Problem } from '../ui/message.tsx'
import { useAction } from '../ui/use-action.ts'
import { useResource } from '../ui/use-resource.ts'

type Machine = Pick<EndpointView, 'id' | 'name' | 'deviceKey' | 'boot' | 'owner'>

/** By what an endpoint proves which it is, and whether it booted what is expected of it. */
export function KnownBy({ machine }: { readonly machine: Machine }): ReactElement {
  const { deviceKey, boot } = machine
  if (deviceKey === 'file') return <span className="muted">Key file</span>
  return (
    <>
      TPM{' '}
      {boot?.state === 'changed' ? (
        <span className="state state-warn">Boot changed</span>
      ) : (
        <span className="muted small">
          {boot?.secureBoot === 'unknown'
            ? 'boot as expected'
            : `Secure Boot ${boot?.secureBoot ?? 'unknown'}`}
        </span>
      )}
    </>
  )
}

/** Whether another endpoint booted something else in the same way, as after one update of many machines. */
function isBootAlike(machine: Machine, other: Machine & { readonly revoked: boolean }): boolean {
  return (
    other.id !== machine.id &&
    !other.revoked &&
    other.boot?.state === 'changed' &&
    other.boot.difference.join('\n') === machine.boot?.difference.join('\n')
  )
}

/** Shows what differs between the boot that is expected of an endpoint and its last one, to be accepted. */
export function AcceptBoot(props: {
  readonly machine: Machine
  readonly onChange: () => void
}): ReactElement {
  const { machine } = props
  const [looking, setLooking] = useState(false)
  return (
    <>
      <button
        type="button"
        className="button button-small"
        aria-label={`Look at the boot of ${machine.name}`}
        onClick={() => setLooking(true)}
      >
        Boot changed …
      </button>
      {looking && <AcceptDialog {...props} onClose={() => setLooking(false)} />}
    </>
  )
}

function AcceptDialog(props: {
  readonly machine: Machine
  readonly onChange: () => void
  readonly onClose: () => void
}): ReactElement {
  const { machine, onChange, onClose } = props
  const { name, boot } = machine
  const others = useResource(endpointsApi.bootChanged)
  const alike = others.data?.endpoints.filter((one) => isBootAlike(machine, one)) ?? []
  const [withAlike, setWithAlike] = useState(false)
  const { busy, error, run } = useAction()
  const accept = () =>
    run(async () => {
      for (const one of [machine, ...(withAlike ? alike : [])])
        await endpointsApi.acceptBoot(one.id, one.boot?.id ?? '')
      onClose()
      onChange()
    })
  return (
    <Dialog title={`${name} booted something else`} onClose={onClose}>
      <div className="dialog-body">
        <p>Its TPM attests that this differs from the boot that is expected of it:</p>
        <ul>
          {boot?.difference.map((line) => (
            <li key={line}>{line}</li>
          ))}
        </ul>
        <p>
          After an update of the system that is as it should be. Accept it only when you know why: from then
          on this boot is the expected one.
        </p>
        {alike.length > 0 && (
          <label className="check">
            <input
              type="checkbox"
              checked={withAlike}
              onChange={(event) => setWithAlike(event.currentTarget.checked)}
            />
            Accept it also on {names(alike)}, where the same differs
          </label>
        )}
        {error !== undefined && <Problem error={error} />}
      </div>
      <DialogFoot>
        <button type="button" className="button button-danger" disabled={busy} onClick={accept}>
          {withAlike && alike.length > 0 ? `Accept these ${alike.length + 1} boots` : 'Accept this boot'}
        </button>
      </DialogFoot>
    </Dialog>
  )
}

function names(machines: readonly Machine[]): string {
  const shown = machines.slice(0, 5).map(({ name }) => name)
  const more = machines.length - shown.length
  return more > 0 ? `${shown.join(', ')} and ${more} more` : shown.join(', ')
}

/** Whose endpoint it is, to be changed. */
export function ChangeOwner(props: {
  readonly machine: Machine
  readonly onChange: () => void
}): ReactElement {
  const { machine, onChange } = props
  const [changing, setChanging] = useState(false)
  const { busy, error, run } = useAction()
  function submit(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault()
    const owner = formValue(new FormData(event.currentTarget), 'owner').trim()
    run(async () => {
      await endpointsApi.changeOwner(machine.id, owner === '' ? null : owner)
      setChanging(false)
      onChange()
    }, event.currentTarget)
  }
  return (
    <>
      <button
        type="button"
        className="button button-small button-quiet"
        aria-label={`Change the owner of ${machine.name}`}
        onClick={() => setChanging(true)}
      >
        Owner …
      </button>
      {changing && (
        <Dialog title={`Owner of ${machine.name}`} onClose={() => setChanging(false)}>
          <form onSubmit={submit}>
            <div className="dialog-body">
              <TextField
                label="User name"
                name="owner"
                defaultValue={machine.owner?.login ?? ''}
                hint="Empty: whoever opens something from it next."
                autoComplete="off"
                spellCheck={false}
                data-autofocus
              />
              {error !== undefined && <Problem error={error} />}
            </div>
            <DialogFoot>
              <button type="submit" className="button button-primary" disabled={busy}>
                Save
              </button>
            </DialogFoot>
          </form>
        </Dialog>
      )}
    </>
  )
}
