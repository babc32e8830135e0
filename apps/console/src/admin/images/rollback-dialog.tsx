import { type FormEvent, type ReactElement, useState } from 'react'
import type { ProposalView } from '#core/api/releases.ts'
import { imagesApi } from '../../api/images-api.ts'
import { CommandLine } from '../../ui/copyable.tsx'
import { Dialog, DialogFoot } from '../../ui/dialog.tsx'
import { formValue, TextField } from '../../ui/fields.tsx'
import { Problem } from '../../ui/message.tsx'
import { useAction } from '../../ui/use-action.ts'
import { nameToSign, signCommand } from './commands.ts'
import type { Family, Release } from './families.ts'

/** Proposes an older image anew, and says what has to be signed for it. */
export function RollbackDialog(props: {
  readonly family: Family
  readonly to: Release
  readonly onClose: () => void
  readonly onDone: () => void
}): ReactElement {
  const { family, to } = props
  const [proposed, setProposed] = useState<ProposalView>()
  const { busy, error, run } = useAction()

  function submit(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault()
    const as = formValue(new FormData(event.currentTarget), 'as').trim()
    run(async () => {
      setProposed(await imagesApi.rollBack(family.name, { to: to.version, ...(as === '' ? {} : { as }) }))
      props.onDone()
    }, event.currentTarget)
  }

  if (proposed !== undefined) return <Proposed proposal={proposed} onClose={props.onClose} />
  return (
    <Dialog title={`Roll ${family.name} back to ${to.version}`} onClose={props.onClose}>
      <form onSubmit={submit}>
        <div className="dialog-body">
          <p>
            This proposes a new release with the content of {to.contentVersion}. Endpoints never take an older
            release than they have seen, so the way back is a newer one.
          </p>
          <p>
            It changes nothing until {signersOf(family)}, and it is published and promoted like any other.
          </p>
          <TextField
            label="Version of the new release"
            name="as"
            placeholder="made up by the site"
            pattern="[a-z0-9][a-z0-9._\-]{0,127}"
            title="Lower-case letters, digits, dots, underscores and dashes"
            autoComplete="off"
            spellCheck={false}
          />
          {error !== undefined && <Problem error={error} />}
        </div>
        <DialogFoot>
          <button type="submit" className="button button-primary" disabled={busy}>
            Propose to roll back
          </button>
        </DialogFoot>
      </form>
    </Dialog>
  )
}

function Proposed(props: { readonly proposal: ProposalView; readonly onClose: () => void }): ReactElement {
  const name = nameToSign(props.proposal)
  return (
    <Dialog title={`${name} awaits ${count(props.proposal.missing, 'signature')}`} onClose={props.onClose}>
      <div className="dialog-body">
        <p>
          Each of those who sign runs this on a machine that has the key. Then publish it here, and promote
          it.
        </p>
        <CommandLine text={signCommand(name)} label={`Copy the command that signs ${name}`} />
      </div>
      <footer className="dialog-foot">
        <button type="button" className="button button-primary" onClick={props.onClose}>
          Done
        </button>
      </footer>
    </Dialog>
  )
}

function signersOf({ role }: Family): string {
  if (role === undefined) return 'it is signed'
  const names = role.keys.map(({ name }) => name).join(', ')
  return `${role.threshold} of ${names} ${role.threshold === 1 ? 'has' : 'have'} signed it`
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}
