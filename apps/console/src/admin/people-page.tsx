import { type FormEvent, type ReactElement, useState } from 'react'
import type { PersonView } from '#core/api/admin.ts'
import { adminApi } from '../api/api.ts'
import { usePerson } from '../person-context.ts'
import { DataTable } from '../ui/data-table.tsx'
import { Dialog, DialogFoot } from '../ui/dialog.tsx'
import { formValue, TextField, words } from '../ui/fields.tsx'
import { Icon } from '../ui/icons.tsx'
import { Problem, Waiting } from '../ui/message.tsx'
import { PageSearch, PageTurns, usePages } from '../ui/paged-list.tsx'
import { useAction } from '../ui/use-action.ts'
import { DeleteDialog, DeleteInstead } from './delete-dialog.tsx'
import { GroupsField } from './groups-field.tsx'
import { PageHead } from './page-head.tsx'

/** Local accounts and their groups. A change decides running sessions again within seconds. */
export function PeoplePage(): ReactElement {
  const pages = usePages(adminApi.people)
  const { data, error, reload } = pages
  const [adding, setAdding] = useState(false)
  const [editing, setEditing] = useState<PersonView>()
  const [deleting, setDeleting] = useState<PersonView>()
  return (
    <>
      <PageHead
        title="People"
        count={data?.count}
        action={
          <button type="button" className="button button-primary" onClick={() => setAdding(true)}>
            <Icon name="plus" />
            Add a person
          </button>
        }
      >
        Groups are what the policy looks at. A change applies to running sessions within seconds.
      </PageHead>
      {data === undefined ? (
        error === undefined ? (
          <Waiting label="Loading people" />
        ) : (
          <Problem error={error} retry={reload} />
        )
      ) : (
        <>
          <PageSearch
            label="Search by name or user name"
            pages={pages}
            shown={data.people.length}
            count={data.count}
          />
          {data.people.length > 0 && <PeopleTable people={data.people} onEdit={setEditing} />}
          <PageTurns pages={pages} />
        </>
      )}
      {(adding || editing !== undefined) && (
        <PersonDialog
          key={editing?.id ?? 'new'}
          person={editing}
          groups={data?.groups ?? []}
          groupsThatCount={data?.groupsThatCount ?? []}
          onClose={() => {
            setAdding(false)
            setEditing(undefined)
          }}
          onSaved={reload}
          onDelete={setDeleting}
        />
      )}
      {deleting !== undefined && (
        <DeleteDialog
          path={`/admin/people/${deleting.id}`}
          name={deleting.name}
          warning="Whoever is given this user name later inherits nothing."
          onClose={() => setDeleting(undefined)}
          onDeleted={() => {
            setDeleting(undefined)
            reload()
          }}
        />
      )}
    </>
  )
}

function PeopleTable(props: {
  readonly people: readonly PersonView[]
  readonly onEdit: (person: PersonView) => void
}): ReactElement {
  return (
    <DataTable
      label="People"
      rows={props.people.map((person) => ({
        key: person.id,
        off: person.disabled,
        cells: {
          Name: person.name,
          'User name': <span className="mono">{person.login}</span>,
          Groups: <Groups person={person} />,
        },
        actions: (
          <button
            type="button"
            className="button button-small"
            aria-label={`Edit ${person.name}`}
            onClick={() => props.onEdit(person)}
          >
            Edit
          </button>
        ),
      }))}
    />
  )
}

function Groups({ person }: { readonly person: PersonView }): ReactElement {
  return (
    <ul className="chips">
      {person.groups.map((group) => (
        <li key={group} className="chip">
          {group}
        </li>
      ))}
      {person.disabled && <li className="chip chip-bad">Disabled</li>}
    </ul>
  )
}

function PersonDialog(props: {
  readonly person: PersonView | undefined
  /** That anybody is in, and that give something. */
  readonly groups: readonly string[]
  readonly groupsThatCount: readonly string[]
  readonly onClose: () => void
  readonly onSaved: () => void
  readonly onDelete: (person: PersonView) => void
}): ReactElement {
  const { person } = props
  const { me } = usePerson()
  const { busy, error, run } = useAction()

  function submit(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault()
    const form = new FormData(event.currentTarget)
    run(async () => {
      await save(person, form)
      props.onSaved()
      props.onClose()
    }, event.currentTarget)
  }

  return (
    <Dialog title={person === undefined ? 'Add a person' : `Edit ${person.name}`} onClose={props.onClose}>
      <form onSubmit={submit}>
        <div className="dialog-body">
          <TextField
            label="Name"
            name="name"
            defaultValue={person?.name}
            required
            maxLength={100}
            autoComplete="off"
          />
          {person === undefined && (
            <TextField
              label="User name"
              name="login"
              required
              pattern="[a-z][a-z0-9._\-]{0,31}"
              title="Lower-case letters, digits, dots and dashes, 32 at most"
              autoComplete="off"
              autoCapitalize="none"
              spellCheck={false}
            />
          )}
          <GroupsField groups={person?.groups ?? []} inUse={props.groups} counting={props.groupsThatCount} />
          <TextField
            label={person === undefined ? 'First password' : 'New password'}
            name="password"
            type="password"
            required={person === undefined}
            minLength={12}
            autoComplete="new-password"
            hint={person === undefined ? '12 characters or more.' : 'Leave it empty to keep the present one.'}
          />
          {person !== undefined && (
            <label className="check">
              <input type="checkbox" name="disabled" defaultChecked={person.disabled} />
              Disabled: cannot sign in, and running sessions end
            </label>
          )}
          {error !== undefined && <Problem error={error} />}
        </div>
        <DialogFoot
          apart={
            person !== undefined &&
            person.id !== me.id && (
              <DeleteInstead
                onDelete={() => {
                  props.onClose()
                  props.onDelete(person)
                }}
              />
            )
          }
        >
          <button type="submit" className="button button-primary" disabled={busy}>
            {person === undefined ? 'Add' : 'Save'}
          </button>
        </DialogFoot>
      </form>
    </Dialog>
  )
}

async function save(person: PersonView | undefined, form: FormData): Promise<void> {
  const name = formValue(form, 'name').trim()
  const password = formValue(form, 'password')
  const groups = [...new Set(words(formValue(form, 'groups')))]
  if (person === undefined)
    return adminApi.addPerson({ name, login: formValue(form, 'login'), password, groups })
  const disabled = form.get('disabled') !== null
  // Only what was changed here: somebody else may change the rest meanwhile.
  return adminApi.changePerson(person.id, {
    ...(name === person.name ? {} : { name }),
    ...(groups.toSorted().join(' ') === person.groups.toSorted().join(' ') ? {} : { groups }),
    ...(disabled === person.disabled ? {} : { disabled }),
    ...(password === '' ? {} : { password }),
  })
}
