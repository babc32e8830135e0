import { useEffect, useState } from 'react'

/** A text that is being changed, and the tag of what it was begun from. */
export interface Draft {
  readonly text: string
  readonly basis: string
}

/**
 * Keeps a draft for this tab until it is dropped: over a sign-in that ended, another page, a reload. Asks before the tab closes.
 *
 * @param name with whose draft it is in it
 */
export function useDraft(name: string): [Draft | undefined, (draft: Draft | undefined) => void] {
  const [draft, setDraft] = useState(() => readDraft(name))
  useEffect(() => {
    if (draft === undefined) {
      sessionStorage.removeItem(name)
      return undefined
    }
    sessionStorage.setItem(name, JSON.stringify([draft.text, draft.basis]))
    const ask = (event: BeforeUnloadEvent): void => event.preventDefault()
    window.addEventListener('beforeunload', ask)
    return () => window.removeEventListener('beforeunload', ask)
  }, [name, draft])
  return [draft, setDraft]
}

function readDraft(name: string): Draft | undefined {
  const kept: unknown = JSON.parse(sessionStorage.getItem(name) ?? '[]')
  const [text, basis] = Array.isArray(kept) ? (kept as readonly unknown[]) : []
  return typeof text === 'string' && typeof basis === 'string' ? { text, basis } : undefined
}
