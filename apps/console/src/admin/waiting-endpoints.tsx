import { type FormEvent, type ReactElement, useState } from 'react'
import type { EnrolmentRequestView } from '#core/api/device-keys.ts'
import { endpointsApi } from '../api/endpoints-api.ts'
import { DataTable } from '../ui/data-table.tsx'
import { Dialog, DialogFoot } from '../ui/dialog.tsx'
import { formValue, TextField } from '../ui/fields.tsx'
import { Problem } from '../ui/message.tsx'
import { useAction } from '../ui/use-action.ts'
import { useInterval, useNow, useResource } from '../ui/use-resource.ts'
import { ago } from '../words.ts'

/** Machines that asked to become endpoints without a token; nothing while none does. */
export function WaitingEndpoints(props: { readonly onApproved: () => void }): ReactElement | undefined {
  const { data, error, reload } = useResource(endpointsApi.waiting)
  const [letting, setLetting] = useState<EnrolmentRequestView>()
  const refusing = useAction()
  const now = useNow()
  useInterval(reload, 5000)
  const requests = data?.requests ?? []
  if (requests.length === 0) return error === undefined ? undefined : <Problem error={error} retry={reload} />
  return (
    <section aria-labelledby="waiting-endpoints">
      <h2 id="waiting-endpoints">Waiting to be let in</h2>
      <p className="muted">Let a machine in only when the person at it reads you the same code.</p>
      {refusing.error !== undefined && <Problem error={refusing.error} />}
      <DataTable
        label="Waiting endpoints"
        rows={requests.map((request) => ({
          key: request.id,
          cells: {
            Code: <span className="mono">{request.code}</span>,
            Name: request.name,
            'Asked from': <span className="mono">{request.address}</span>,
            Asked: ago(request.requestedAt, now),
          },
          actions: (
            <>
              <button
                type="button"
                className="button button-small"
                aria-label={`Let in ${request.code}`}
                onClick={() => setLetting(request)}
              >
                Let in
              </button>
              <button
                type="button"
                className="button button-small button-quiet"
                aria-label={`Refuse ${request.code}`}
                disabled={refusing.busy}
                onClick={() => refusing.run(() => endpointsApi.refuse(request.id).then(reload))}
              >
                Refuse
              </button>
            </>
          ),
        }))}
      />
      {letting !== undefined && (
        <LetIn
          request={letting}
          onClose={() => setLetting(undefined)}
          onDone={() => {
            reload()
            props.onApproved()
          }}
        />
      )}
    </section>
  )
}

function LetIn(props: {
  readonly request: EnrolmentRequestView
  readonly onClose: () => void
  readonly onDone: () => void
}): ReactElement {
  const { request, onClose, onDone } = props
  const { busy, error, run } = useAction()
  function submit(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault()
    const form = new FormData(event.currentTarget)
    const owner = formValue(form, 'owner').trim()
    const body = {
      name: formValue(form, 'name'),
      group: formValue(form, 'group'),
      ...(owner === '' ? {} : { owner }),
    }
    run(async () => {
      await endpointsApi.approve(request.id, body)
      onDone()
      onClose()
    }, event.currentTarget)
  }
  return (
    <Dialog title={`Let in ${request.code}`} onClose={onClose}>
      <form onSubmit={submit}>
        <div className="dialog-body">
          <TextField
            label="Name"
            name="name"
            defaultValue={request.name}
            required
            pattern="[a-z][a-z0-9\-]{0,39}"
            title="Lower-case letters, digits and dashes, 40 at most"
            hint="The machine calls itself so; it shall appear here and in the audit log."
            autoComplete="off"
            spellCheck={false}
            data-autofocus
          />
          <TextField
            label="Group"
            name="group"
            defaultValue="default"
            required
            pattern="[a-z][a-z0-9\-]{0,39}"
            title="Lower-case letters, digits and dashes, 40 at most"
            hint="A new release can go to one group before the others."
            autoComplete="off"
            spellCheck={false}
          />
          <TextField
            label="Owner"
            name="owner"
            hint="User name of the person whose endpoint it is. Empty: whoever opens something from it first."
            autoComplete="off"
            spellCheck={false}
          />
          {error !== undefined && <Problem error={error} />}
        </div>
        <DialogFoot>
          <button type="submit" className="button button-primary" disabled={busy}>
            Let it in
          </button>
        </DialogFoot>
      </form>
    </Dialog>
  )
}
