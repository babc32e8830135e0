import { type RefObject, useEffect } from 'react'

/**
 * Keeps in sight what the person types at while a touch keyboard covers a part of the window: the place of the picture that they touched last.
 * The picture moves up and keeps its size, or each opening of the keyboard would make the desktop smaller.
 *
 * @param page gets `--covered` and `--lifted`, lengths from the bottom of the window
 */
export function useKeyboardRoom(page: RefObject<HTMLElement | null>): void {
  useEffect(() => {
    const view = window.visualViewport
    const element = page.current
    if (view === null || element === null) return undefined
    let touchedAt = 0
    let lifted = 0
    const touch = (event: PointerEvent): void => {
      if (event.target instanceof HTMLCanvasElement) touchedAt = event.clientY + lifted
    }
    const makeRoom = (): void => {
      // Whoever has zoomed in sees less, too, and nothing is covered.
      const room = view.height * view.scale
      const covered = Math.max(0, document.documentElement.clientHeight - room)
      lifted = Math.min(covered, Math.max(0, touchedAt - room / 2))
      element.style.setProperty('--covered', `${covered}px`)
      element.style.setProperty('--lifted', `${lifted}px`)
    }
    element.addEventListener('pointerdown', touch, { capture: true })
    view.addEventListener('resize', makeRoom)
    return () => {
      element.removeEventListener('pointerdown', touch, { capture: true })
      view.removeEventListener('resize', makeRoom)
    }
  }, [page])
}
