import { type ReactElement, useCallback, useState } from 'react'
import { Icon } from '../ui/icons.tsx'

interface Toast {
  readonly id: number
  readonly text: string
}

const shownMs = 9000
let lastId = 0

/** Short messages that go away by themselves. */
export function useToasts(): { toasts: readonly Toast[]; show: (text: string) => void } {
  const [toasts, setToasts] = useState<readonly Toast[]>([])
  const show = useCallback((text: string) => {
    lastId += 1
    const id = lastId
    // What is said again is not said twice beside each other.
    setToasts((before) => [...before.filter((toast) => toast.text !== text).slice(-3), { id, text }])
    setTimeout(() => setToasts((before) => before.filter((toast) => toast.id !== id)), shownMs)
  }, [])
  return { toasts, show }
}

export function Toasts({ toasts }: { readonly toasts: readonly Toast[] }): ReactElement {
  return (
    <div className="toasts" role="status" aria-live="polite">
      {toasts.map((toast) => (
        <p key={toast.id} className="toast">
          <Icon name="info" />
          {toast.text}
        </p>
      ))}
    </div>
  )
}
