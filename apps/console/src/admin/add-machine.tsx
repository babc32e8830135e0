import { type FormEvent, type ReactElement, useEffect, useRef, useState } from 'react'
import { adminApi } from '../api/api.ts'
import { Dialog, DialogFoot } from '../ui/dialog.tsx'
import { formValue, TextField, words } from '../ui/fields.tsx'
import { Problem } from '../ui/message.tsx'
import { useAction } from '../ui/use-action.ts'

/** Names a new host, gateway or endpoint and shows the one command that makes it join, with a fresh single-use token. */
export function AddMachine(props: {
  readonly kind: 'host' | 'gateway' | 'endpoint'
  readonly onClose: () => void
}): ReactElement {
  const { kind, onClose } = props
  const [joined, setJoined] = useState<{ command: string; expiresAt: string }>()
  const { busy, error, run } = useAction()

  function submit(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault()
    const form = new FormData(event.currentTarget)
    const name = formValue(form, 'name')
    const addresses = words(formValue(form, 'addresses'))
    const pool = formValue(form, 'pool').trim()
    run(async () => {
      const { token, expiresAt } = await adminApi.enrolmentToken(
        kind === 'gateway' ? { kind, name, addresses } : { kind, name, pool },
      )
      // The token says what the machine becomes; the two that serve others are named once more.
      const role = kind === 'endpoint' ? '' : ` --${kind}`
      setJoined({ command: `./trustcast enroll ${location.origin}${role} --token ${token}`, expiresAt })
    }, event.currentTarget)
  }

  return (
    <Dialog title={`Add ${article(kind)} ${kind}`} onClose={onClose}>
      {joined === undefined ? (
        <form onSubmit={submit}>
          <div className="dialog-body">
            <TextField
              label="Name"
              name="name"
              required
              pattern="[a-z][a-z0-9\-]{0,39}"
              title="Lower-case letters, digits and dashes, 40 at most"
              hint="As it shall appear here and in the audit log: lower-case letters, digits and dashes."
              autoComplete="off"
              spellCheck={false}
              data-autofocus
            />
            {kind !== 'gateway' && (
              <TextField
                label={kind === 'host' ? 'Pool' : 'Group'}
                name="pool"
                defaultValue="default"
                required
                pattern="[a-z][a-z0-9\-]{0,39}"
                title="Lower-case letters, digits and dashes, 40 at most"
                hint={
                  kind === 'host'
                    ? 'Workspaces name a pool; its hosts serve them.'
                    : 'A new release can go to one group before the others.'
                }
                autoComplete="off"
                spellCheck={false}
              />
            )}
            {kind === 'gateway' && (
              <TextField
                label="Addresses"
                name="addresses"
                required
                hint="Names or addresses by which browsers reach it, separated by spaces. Its certificate holds these."
                autoComplete="off"
                spellCheck={false}
              />
            )}
            {error !== undefined && <Problem error={error} />}
          </div>
          <DialogFoot>
            <button type="submit" className="button button-primary" disabled={busy}>
              Make the command
            </button>
          </DialogFoot>
        </form>
      ) : (
        <JoinCommand kind={kind} {...joined} onClose={onClose} />
      )}
    </Dialog>
  )
}

function JoinCommand(props: {
  readonly kind: string
  readonly command: string
  readonly expiresAt: string
  readonly onClose: () => void
}): ReactElement {
  const [copied, setCopied] = useState(false)
  const copy = useRef<HTMLButtonElement>(null)
  useEffect(() => copy.current?.focus(), [])
  return (
    <>
      <div className="dialog-body">
        <p>
          Run this on the new {props.kind}. The token works once, until{' '}
          {new Date(props.expiresAt).toLocaleTimeString([], { timeStyle: 'short' })}, and is not shown again.
          {props.kind === 'endpoint' && ' It says what to start afterwards.'}
        </p>
        <pre className="command" tabIndex={0} aria-label="Command">
          {props.command}
        </pre>
      </div>
      <footer className="dialog-foot">
        <span className="grow muted small" role="status">
          {copied && 'Copied'}
        </span>
        <button
          type="button"
          ref={copy}
          className="button"
          onClick={() => void navigator.clipboard.writeText(props.command).then(() => setCopied(true))}
        >
          Copy
        </button>
        <button type="button" className="button button-primary" onClick={props.onClose}>
          Done
        </button>
      </footer>
    </>
  )
}

function article(kind: string): string {
  return kind === 'endpoint' ? 'an' : 'a'
}
