import { type KeyboardEvent, type ReactElement, useEffect, useId, useRef, useState } from 'react'
import { signOut } from '../account/web-session.ts'
import { usePerson } from '../person-context.ts'
import { Icon } from '../ui/icons.tsx'
import { KnownAboutYou } from './known-about-you.tsx'

/** Who is signed in, what the site knows about them, and the way out. */
export function PersonMenu(): ReactElement {
  const { me } = usePerson()
  const [open, setOpen] = useState(false)
  const [known, setKnown] = useState(false)
  const box = useRef<HTMLDivElement>(null)
  const button = useRef<HTMLButtonElement>(null)
  const menuId = useId()

  useEffect(() => {
    if (!open) return undefined
    const closeOutside = (event: PointerEvent) => {
      if (event.target instanceof Node && box.current?.contains(event.target) === false) setOpen(false)
    }
    document.addEventListener('pointerdown', closeOutside)
    return () => document.removeEventListener('pointerdown', closeOutside)
  }, [open])

  function onKeyDown(event: KeyboardEvent): void {
    if (event.key !== 'Escape' || !open) return
    setOpen(false)
    button.current?.focus()
  }

  function showKnown(): void {
    button.current?.focus()
    setOpen(false)
    setKnown(true)
  }

  return (
    <div
      className="person"
      ref={box}
      onKeyDown={onKeyDown}
      onBlur={({ relatedTarget }) => {
        if (relatedTarget !== null && box.current?.contains(relatedTarget) === false) setOpen(false)
      }}
    >
      <button
        type="button"
        ref={button}
        className="person-button"
        aria-expanded={open}
        aria-controls={menuId}
        onClick={() => setOpen(!open)}
      >
        <span className="avatar" aria-hidden="true">
          {initials(me.name)}
        </span>
        <span className="person-name">{me.name}</span>
        <Icon name="chevron" />
      </button>
      <div id={menuId} className="menu" hidden={!open}>
        <div className="menu-who">
          <strong>{me.name}</strong>
          <span className="muted">{me.login}</span>
          {me.groups.length > 0 && <span className="muted small">{me.groups.join(', ')}</span>}
        </div>
        <button type="button" className="menu-item" onClick={showKnown}>
          <Icon name="shield" />
          What this site knows about you
        </button>
        <button type="button" className="menu-item" onClick={() => void signOut()}>
          <Icon name="leave" />
          Sign out
        </button>
      </div>
      {known && <KnownAboutYou onClose={() => setKnown(false)} />}
    </div>
  )
}

function initials(name: string): string {
  const words = name.split(/\s+/).filter((word) => word !== '')
  const [first = '?', last = ''] = [words[0], words.length > 1 ? words.at(-1) : '']
  return (first.charAt(0) + last.charAt(0)).toUpperCase()
}
