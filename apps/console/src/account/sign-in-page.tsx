import { type FormEvent, type ReactElement, useEffect, useState } from 'react'
import { api } from '../api/api.ts'
import { formValue, TextField } from '../ui/fields.tsx'
import { Mark } from '../ui/icons.tsx'
import { safeNext } from '../ui/match-path.ts'
import { Problem } from '../ui/message.tsx'
import { navigate } from '../ui/router.tsx'
import { useAction } from '../ui/use-action.ts'
import { useResource } from '../ui/use-resource.ts'
import { freshSignIn, signIn, signInOver, signInOverForm } from './web-session.ts'

export function SignInPage(): ReactElement {
  const site = useResource(api.site)
  const { busy, error, run } = useAction()
  const [isOver] = useState(() => history.state === signInOver)
  const [isFormLost] = useState(() => history.state === signInOverForm)
  const needsSetup = site.data?.needsSetup === true
  useEffect(() => {
    if (needsSetup) navigate('/setup', { replace: true })
  }, [needsSetup])

  function submit(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault()
    const form = new FormData(event.currentTarget)
    run(async () => {
      await signIn(formValue(form, 'login').trim().toLowerCase(), formValue(form, 'password'))
      navigate(safeNext(new URLSearchParams(location.search).get('next')), {
        replace: true,
        state: freshSignIn,
      })
    })
  }

  return (
    <main className="door">
      <form className="door-card" onSubmit={submit} aria-labelledby="door-title">
        <Mark />
        <h1 id="door-title">{site.data === undefined ? 'Sign in' : `Sign in to ${site.data.name}`}</h1>
        {isOver && (
          <p role="status">
            Your sign-in has ended: after 30 minutes without use, after 12 hours, or because it was ended
            elsewhere. Sign in to go on where you were.
          </p>
        )}
        {isFormLost && (
          <p role="status">
            Your sign-in has ended, or you signed out in another tab.{' '}
            <strong>The form that was open was not saved.</strong>
          </p>
        )}
        <TextField
          label="User name"
          name="login"
          autoComplete="username"
          autoCapitalize="none"
          spellCheck={false}
          required
          autoFocus
        />
        <TextField
          label="Password"
          name="password"
          type="password"
          autoComplete="current-password"
          required
        />
        {error !== undefined && <Problem error={error} />}
        <button type="submit" className="button button-primary button-wide" disabled={busy}>
          {busy ? 'Signing in…' : 'Sign in'}
        </button>
        <p className="hint">
          This browser makes a key for your visit and proves it with every request. It leaves when you sign
          out.
        </p>
      </form>
    </main>
  )
}
