import { type AnchorHTMLAttributes, type MouseEvent, type ReactElement, useSyncExternalStore } from 'react'

const moved = 'trustcast:moved'

/** Goes to another page of the console. `state` is handed to that page, as `history.state`. */
export function navigate(to: string, options: { replace?: boolean; state?: unknown } = {}): void {
  if (options.replace === true) history.replaceState(options.state ?? null, '', to)
  else history.pushState(options.state ?? null, '', to)
  window.scrollTo(0, 0)
  window.dispatchEvent(new Event(moved))
}

/** The current path; the component draws again when it changes. */
export function usePathname(): string {
  return useSyncExternalStore(subscribe, () => location.pathname)
}

/** A link within the console. */
export function Link({
  href,
  ...rest
}: AnchorHTMLAttributes<HTMLAnchorElement> & { href: string }): ReactElement {
  function follow(event: MouseEvent): void {
    const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey
    if (!plain || event.defaultPrevented) return
    event.preventDefault()
    navigate(href)
  }
  return <a {...rest} href={href} onClick={follow} />
}

function subscribe(listener: () => void): () => void {
  window.addEventListener('popstate', listener)
  window.addEventListener(moved, listener)
  return () => {
    window.removeEventListener('popstate', listener)
    window.removeEventListener(moved, listener)
  }
}
