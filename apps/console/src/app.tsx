import { type ReactElement, useEffect } from 'react'
import type { Me } from '#core/api/person.ts'
import { onOtherPerson, signInOver, signInOverForm } from './account/web-session.ts'
import { api } from './api/api.ts'
import { rightsLost, signedOut } from './api/client.ts'
import { personContext } from './person-context.ts'
import { mayEnter, type Route, routes } from './routes.tsx'
import { Shell } from './shell/shell.tsx'
import { holdsUnsavedForm } from './ui/dialog.tsx'
import { matchPath } from './ui/match-path.ts'
import { Empty, Problem, Waiting } from './ui/message.tsx'
import { Link, navigate, usePathname } from './ui/router.tsx'
import { useStore } from './ui/store.ts'
import { useResource } from './ui/use-resource.ts'

export function App(): ReactElement {
  const pathname = usePathname()
  useSignInWhenOver()
  for (const route of routes) {
    const params = matchPath(route.path, pathname)
    if (params === undefined) continue
    const page = <Titled key={pathname} route={route} params={params} />
    return route.audience === 'open' ? page : <SignedIn route={route}>{page}</SignedIn>
  }
  return <NotFound />
}

/** Leads to the sign-in when the site says that the web session is over, and back here afterwards. */
function useSignInWhenOver(): void {
  const told = useStore(signedOut)
  useEffect(() => {
    if (told === undefined || location.pathname === '/sign-in') return
    const here = location.pathname + location.search
    const ended = told.isOver ? signInOver : undefined
    const state = holdsUnsavedForm() ? signInOverForm : ended
    navigate(here === '/' ? '/sign-in' : `/sign-in?next=${encodeURIComponent(here)}`, {
      replace: true,
      state,
    })
  }, [told])
}

function Titled({ route, params }: { route: Route; params: Readonly<Record<string, string>> }): ReactElement {
  usePageTitle(route.title)
  const Page = route.page
  return <Page params={params} />
}

function usePageTitle(title: string): void {
  useEffect(() => {
    document.title = `${title} · Trustcast`
    // A screen reader and the Tab key start at the new page, as after loading one.
    if (document.activeElement === document.body || document.activeElement?.closest('main') !== null) return
    document.querySelector<HTMLElement>('main')?.focus({ preventScroll: true })
  }, [title])
}

function SignedIn({ route, children }: { route: Route; children: ReactElement }): ReactElement {
  const { data, error, reload } = useResource(loadPerson)
  const lost = useStore(rightsLost)
  useEffect(() => {
    if (lost > 0) reload()
  }, [lost, reload])
  const login = data?.me.login
  useEffect(() => (login === undefined ? undefined : onOtherPerson(login, () => location.reload())), [login])
  if (data === undefined) {
    return (
      <main className="page page-narrow">
        {error === undefined ? <Waiting label="Loading" /> : <Problem error={error} retry={reload} />}
      </main>
    )
  }
  const allowed = mayEnter(data.me, route.audience)
  const page = allowed ? children : <Forbidden />
  return (
    <personContext.Provider value={{ ...data, reload }}>
      {route.bare === true && allowed ? page : <Shell links={linksFor(data.me)}>{page}</Shell>}
    </personContext.Provider>
  )
}

/** Pages that the header offers: those without parameters that this person may see. */
function linksFor(me: Me): readonly Route[] {
  return routes.filter(({ bare, audience }) => bare !== true && mayEnter(me, audience))
}

async function loadPerson(): Promise<{ me: Me; siteName: string }> {
  const [site, me] = await Promise.all([api.site(), api.me()])
  return { me, siteName: site.name }
}

function Forbidden(): ReactElement {
  usePageTitle('Not permitted')
  return (
    <Empty
      isPage
      title="This page is for admins"
      action={
        <Link href="/" className="button">
          Back to workspaces
        </Link>
      }
    >
      Your account is not in a group that may see it. An admin of this site can change that.
    </Empty>
  )
}

function NotFound(): ReactElement {
  usePageTitle('Not found')
  return (
    <main className="page page-narrow">
      <Empty
        isPage
        title="There is no such page"
        action={
          <Link href="/" className="button">
            Back to workspaces
          </Link>
        }
      >
        The address may be old or mistyped.
      </Empty>
    </main>
  )
}
