import { type ReactElement, useState } from 'react'
import { imagesApi } from '../../api/images-api.ts'
import { usePerson } from '../../person-context.ts'
import { DataTable } from '../../ui/data-table.tsx'
import { Problem } from '../../ui/message.tsx'
import { useAction } from '../../ui/use-action.ts'
import { useNow } from '../../ui/use-resource.ts'
import { roleTitle, span } from '../../words.ts'
import { expiryOf, type Role } from './families.ts'

export interface NamedRole {
  readonly name: string
  readonly role: Role
}

/** Whose keys sign what, and until when their word counts. */
export function Signers(props: {
  readonly roles: readonly NamedRole[]
  /** Roles that something is proposed of already. */
  readonly pending: ReadonlySet<string>
  readonly onChange: () => void
}): ReactElement {
  const { pending, onChange } = props
  const { me } = usePerson()
  const now = useNow()
  const { busy, error, run } = useAction()
  const [renewed, setRenewed] = useState('')
  const renew = (role: string) =>
    run(async () => {
      await imagesApi.renew(role)
      setRenewed(role)
      onChange()
    })
  return (
    <section aria-labelledby="signers-title">
      <header className="section-head">
        <h2 id="signers-title">Who signs</h2>
        <p className="muted small" role="status">
          {renewed !== '' && `${roleTitle(renewed)} is proposed anew and awaits its signatures.`}
        </p>
      </header>
      {error !== undefined && <Problem error={error} />}
      <DataTable
        label="Release roles"
        rows={props.roles.map(({ name, role }) => ({
          key: name,
          cells: {
            For: roleTitle(name),
            Signatures: `${role.threshold} of ${role.keys.length}`,
            Keys: role.keys.map((key) => key.name).join(', '),
            'Good until': <Expiry role={role} now={now} />,
          },
          actions: me.admin && name !== 'root' && role.expiresAt !== undefined && !pending.has(name) && (
            <button
              type="button"
              className="button button-small"
              disabled={busy}
              aria-label={`Renew ${roleTitle(name)}`}
              onClick={() => renew(name)}
            >
              Renew
            </button>
          ),
        }))}
      />
    </section>
  )
}

function Expiry({ role, now }: { readonly role: Role; readonly now: number }): ReactElement {
  const expiry = expiryOf(role, now)
  if (expiry === undefined || role.expiresAt === undefined)
    return <span className="muted">Not published yet</span>
  return (
    <span className="expiry">
      {new Date(role.expiresAt).toLocaleDateString([], { dateStyle: 'medium' })}
      <span className={expiryStates[expiry.state]}>
        {expiry.state === 'over' ? 'Expired' : `${span(expiry.minutes)} left`}
      </span>
    </span>
  )
}

const expiryStates = { good: 'muted small', near: 'state state-warn', over: 'state state-bad' } as const
