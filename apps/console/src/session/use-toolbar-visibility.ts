import { type RefObject, useCallback, useEffect, useEffectEvent, useRef, useState } from 'react'

const hideMs = 3500

/**
 * Shows the toolbar for a moment at first, and while it is used. Ctrl+Alt+Shift+M leads the keyboard into it, and out
 * of it again by `onLeave`.
 */
export function useToolbarVisibility(
  bar: RefObject<HTMLElement | null>,
  pinned: boolean,
  onLeave: () => void,
): {
  readonly shown: boolean
  readonly toggle: (shown: boolean) => void
  readonly hold: () => void
  readonly release: () => void
} {
  const [shown, setShown] = useState(true)
  const [held, setHeld] = useState(false)
  const wantsFocus = useRef(false)

  const toggle = useCallback(
    (next: boolean) => {
      wantsFocus.current = next
      setShown(next)
      // Shown already, it is not rendered again. Hidden, it cannot take the focus yet.
      if (next) bar.current?.querySelector('button')?.focus()
    },
    [bar],
  )
  const leadKeyboard = useEffectEvent(() => {
    if (bar.current?.contains(document.activeElement) === true) onLeave()
    else toggle(true)
  })

  useEffect(() => {
    if (!shown) return
    if (wantsFocus.current) bar.current?.querySelector('button')?.focus()
    wantsFocus.current = false
  }, [shown, bar])

  useEffect(() => {
    if (!shown || held || pinned) return undefined
    const timer = setInterval(() => {
      if (bar.current?.contains(document.activeElement) !== true) setShown(false)
    }, hideMs)
    return () => clearInterval(timer)
  }, [shown, held, pinned, bar])

  useEffect(() => {
    // In the capture phase: the viewer keeps every key that reaches it.
    const onKey = (event: KeyboardEvent): void => {
      if (event.code !== 'KeyM' || !event.ctrlKey || !event.altKey || !event.shiftKey) return
      event.preventDefault()
      event.stopPropagation()
      if (!event.repeat) leadKeyboard()
    }
    window.addEventListener('keydown', onKey, { capture: true })
    return () => window.removeEventListener('keydown', onKey, { capture: true })
  }, [])

  return { shown, toggle, hold: () => setHeld(true), release: () => setHeld(false) }
}
