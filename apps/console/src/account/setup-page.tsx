import { type FormEvent, type ReactElement, useState } from 'react'
import { api } from '../api/api.ts'
import { formValue, TextField } from '../ui/fields.tsx'
import { Mark } from '../ui/icons.tsx'
import { Problem } from '../ui/message.tsx'
import { Link, navigate } from '../ui/router.tsx'
import { useAction } from '../ui/use-action.ts'
import { useResource } from '../ui/use-resource.ts'
import { signIn } from './web-session.ts'

/** Creates the first admin. The token comes in the fragment, which browsers send to nobody. */
export function SetupPage(): ReactElement {
  const site = useResource(api.site)
  const [token] = useState(() => new URLSearchParams(location.hash.slice(1)).get('token') ?? '')
  const { busy, error, run } = useAction()

  function submit(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault()
    const form = new FormData(event.currentTarget)
    const login = formValue(form, 'login').trim()
    const password = formValue(form, 'password')
    run(async () => {
      await api.setUp({
        token: token || formValue(form, 'token').trim(),
        login,
        name: formValue(form, 'name').trim(),
        password,
      })
      await signIn(login, password)
      navigate('/admin/hosts', { replace: true })
    }, event.currentTarget)
  }

  if (site.data?.needsSetup === false) {
    return (
      <main className="door">
        <div className="door-card">
          <Mark />
          <h1>{site.data.name} is set up</h1>
          <p>This site has an admin already, and the one-time link is used.</p>
          <Link href="/sign-in" className="button button-primary button-wide">
            Sign in
          </Link>
        </div>
      </main>
    )
  }
  return (
    <main className="door">
      <form className="door-card" onSubmit={submit} aria-labelledby="door-title">
        <Mark />
        <h1 id="door-title">Create the first admin</h1>
        <p className="muted">
          This account can change people, policy and hosts. You can add other admins later.
        </p>
        {token === '' && (
          <TextField
            label="One-time token"
            name="token"
            autoComplete="off"
            spellCheck={false}
            required
            hint="From the link that `trustcast up` printed."
          />
        )}
        <TextField label="Your name" name="name" autoComplete="name" required maxLength={100} />
        <TextField
          label="User name"
          name="login"
          autoComplete="username"
          autoCapitalize="none"
          spellCheck={false}
          required
          pattern="[a-z][a-z0-9._\-]{0,31}"
          title="Lower-case letters, digits, dots and dashes, 32 at most"
        />
        <TextField
          label="Password"
          name="password"
          type="password"
          autoComplete="new-password"
          required
          minLength={12}
          hint="12 characters or more. Four random words are good."
        />
        {(error ?? site.error) !== undefined && <Problem error={error ?? site.error} />}
        <button type="submit" className="button button-primary button-wide" disabled={busy}>
          {busy ? 'Creating…' : 'Create admin'}
        </button>
      </form>
    </main>
  )
}
