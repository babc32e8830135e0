import { useCallback, useEffect, useRef, useState } from 'react'
import { tellField } from './fields.tsx'

/** Something the person does that takes time and can fail. A second call while one runs is ignored. */
export interface Action {
  readonly busy: boolean
  readonly error: unknown
  /** @param form what the site finds wrong in it stands at the field that it names, and is no error then */
  readonly run: (work: () => Promise<void>, form?: HTMLFormElement) => void
}

export function useAction(): Action {
  const [state, setState] = useState<{ busy: boolean; error: unknown }>({ busy: false, error: undefined })
  const running = useRef(false)
  const focused = useRef<Element>(null)
  const run = useCallback((work: () => Promise<void>, form?: HTMLFormElement) => {
    if (running.current) return
    running.current = true
    focused.current = document.activeElement
    setState({ busy: true, error: undefined })
    const finish = (error?: unknown) => {
      running.current = false
      setState({ busy: false, error })
    }
    work().then(
      () => finish(),
      (error: unknown) => finish(form !== undefined && tellField(form, error) ? undefined : error),
    )
  }, [])
  useEffect(() => {
    // A button that was disabled meanwhile has lost the focus to nothing: the keyboard goes on where it was.
    if (state.error === undefined || document.activeElement !== document.body) return
    if (focused.current instanceof HTMLElement) focused.current.focus()
  }, [state.error])
  return { ...state, run }
}
