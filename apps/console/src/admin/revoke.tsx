import { type ReactElement, useState } from 'react'
import { adminApi } from '../api/api.ts'
import { Confirm } from '../ui/dialog.tsx'
import { Problem } from '../ui/message.tsx'
import { useAction } from '../ui/use-action.ts'

/** Withdraws the certificate of a host, gateway or endpoint, for good. */
export function Revoke(props: {
  readonly machine: { readonly id: string; readonly name: string }
  readonly onChange: () => void
}): ReactElement {
  const { machine } = props
  const [asking, setAsking] = useState(false)
  const { busy, error, run } = useAction()
  const revoke = () => {
    setAsking(false)
    run(async () => {
      await adminApi.revoke(machine.id)
      props.onChange()
    })
  }
  return (
    <>
      <button
        type="button"
        className="button button-small button-quiet"
        aria-label={`Revoke ${machine.name}`}
        disabled={busy}
        onClick={() => setAsking(true)}
      >
        Revoke
      </button>
      {error !== undefined && <Problem error={error} />}
      {asking && (
        <Confirm
          title={`Revoke ${machine.name}?`}
          action="Revoke"
          onConfirm={revoke}
          onClose={() => setAsking(false)}
        >
          <p>
            Its certificate is withdrawn at once, and nothing runs on it or through it any more. To come back
            it has to join again with a new token.
          </p>
        </Confirm>
      )}
    </>
  )
}
