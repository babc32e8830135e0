import { type ReactElement, type ReactNode, useEffect, useRef, useState } from 'react'
import { siteTrouble } from '../api/client.ts'
import { usePerson } from '../person-context.ts'
import { Mark } from '../ui/icons.tsx'
import { Problem } from '../ui/message.tsx'
import { Link, usePathname } from '../ui/router.tsx'
import { useStore } from '../ui/store.ts'
import { outdated } from '../ui/use-resource.ts'
import { Alarms } from './alarms.tsx'
import { PersonMenu } from './person-menu.tsx'

/** Header, navigation and the place where a page stands. */
export function Shell(props: {
  readonly links: readonly { readonly path: string; readonly title: string }[]
  readonly children: ReactNode
}): ReactElement {
  const { siteName, me } = usePerson()
  const pathname = usePathname()
  const trouble = useStore(siteTrouble)
  const [wasInTrouble, setWasInTrouble] = useState(false)
  if (trouble !== '' && !wasInTrouble) setWasInTrouble(true)
  const [old] = useStore(outdated)
  const nav = useRef<HTMLElement>(null)
  useEffect(() => {
    // On a phone the navigation scrolls sideways.
    nav.current
      ?.querySelector(`[href="${CSS.escape(pathname)}"]`)
      ?.scrollIntoView({ block: 'nearest', inline: 'center' })
  }, [pathname])
  return (
    <>
      <a className="skip" href="#main">
        Skip to content
      </a>
      <header className="header">
        <Link href="/" className="brand">
          <Mark />
          <span>{siteName}</span>
        </Link>
        {props.links.length > 1 && (
          <nav className="nav" aria-label="Pages" ref={nav}>
            {props.links.map(({ path, title }) => (
              <Link key={path} href={path} aria-current={path === pathname ? 'page' : undefined}>
                {title}
              </Link>
            ))}
          </nav>
        )}
        <PersonMenu />
      </header>
      <div className="trouble" role="status">
        {trouble !== '' ? (
          <span>{trouble}…</span>
        ) : (
          wasInTrouble && <p className="visually-hidden">The site answers again.</p>
        )}
      </div>
      {(me.admin || me.auditor) && <Alarms />}
      <main id="main" className="page" tabIndex={-1}>
        {old !== undefined && (
          <div className="outdated">
            <p>
              <strong>What you see may be out of date.</strong>
            </p>
            <Problem error={old.state.get().error} />
          </div>
        )}
        {props.children}
      </main>
    </>
  )
}
