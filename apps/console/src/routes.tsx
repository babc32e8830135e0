import type { ReactElement } from 'react'
import type { Me } from '#core/api/person.ts'
import { SetupPage } from './account/setup-page.tsx'
import { SignInPage } from './account/sign-in-page.tsx'
import { DataPage } from './admin/data/data-page.tsx'
import { DecisionsPage } from './admin/decisions-page.tsx'
import { EndpointsPage } from './admin/endpoints-page.tsx'
import { HostsPage } from './admin/hosts-page.tsx'
import { ImagesPage } from './admin/images/images-page.tsx'
import { PeoplePage } from './admin/people-page.tsx'
import { PolicyPage } from './admin/policy-page.tsx'
import { AdminSessionsPage } from './admin/sessions-page.tsx'
import { WorkspacesPage } from './admin/workspaces-page.tsx'
import { PortalPage } from './portal/portal-page.tsx'
import { DeviceSessionPage, SessionPage } from './session/session-page.tsx'

/** One page of the console. */
export interface Route {
  readonly path: string
  /** Name in the browser's title and in the navigation. */
  readonly title: string
  readonly page: (props: { readonly params: Readonly<Record<string, string>> }) => ReactElement
  /** Who may see it; the site checks again. `open` pages need no web session. */
  readonly audience: 'open' | 'person' | 'auditor' | 'admin'
  /** Fills the whole window, without the site's header. */
  readonly bare?: boolean
}

/** The map of the console. */
export const routes: readonly Route[] = [
  { path: '/', title: 'My workspaces', page: PortalPage, audience: 'person' },
  { path: '/sign-in', title: 'Sign in', page: SignInPage, audience: 'open', bare: true },
  { path: '/setup', title: 'Set up', page: SetupPage, audience: 'open', bare: true },
  { path: '/session/:id', title: 'Session', page: SessionPage, audience: 'person', bare: true },
  { path: '/device/:id', title: 'On this device', page: DeviceSessionPage, audience: 'person', bare: true },
  { path: '/admin/data', title: 'Data', page: DataPage, audience: 'auditor' },
  { path: '/admin/sessions', title: 'Sessions', page: AdminSessionsPage, audience: 'auditor' },
  { path: '/admin/hosts', title: 'Hosts', page: HostsPage, audience: 'auditor' },
  { path: '/admin/endpoints', title: 'Endpoints', page: EndpointsPage, audience: 'auditor' },
  { path: '/admin/images', title: 'Images', page: ImagesPage, audience: 'auditor' },
  { path: '/admin/decisions', title: 'Decisions', page: DecisionsPage, audience: 'auditor' },
  { path: '/admin/workspaces', title: 'Workspaces', page: WorkspacesPage, audience: 'auditor' },
  { path: '/admin/people', title: 'People', page: PeoplePage, audience: 'admin' },
  { path: '/admin/policy', title: 'Policy', page: PolicyPage, audience: 'auditor' },
]

/** Whether a page is worth offering to this person. The site decides for itself. */
export function mayEnter(me: Pick<Me, 'admin' | 'auditor'>, audience: Route['audience']): boolean {
  if (audience === 'admin') return me.admin
  return audience === 'auditor' ? me.admin || me.auditor : true
}
