import { useCallback, useEffect, useRef, useState } from 'react'
import { listen } from '../api/events.ts'

/** What a page has of something the site knows. Old data stays while newer is on its way. */
export interface Resource<T> {
  readonly data: T | undefined
  readonly error: unknown
  readonly reload: () => void
}

/**
 * Loads something from the site when the page appears, whenever `key` changes, and again on `reload`.
 * Answers that arrive out of order are dropped.
 */
export function useResource<T>(load: () => Promise<T>, key = ''): Resource<T> {
  const [state, setState] = useState<{ data?: T; error?: unknown }>({})
  const turn = useRef(0)
  const latest = useRef(load)
  latest.current = load

  const reload = useCallback(() => {
    turn.current += 1
    const mine = turn.current
    latest.current().then(
      (data) => {
        if (turn.current === mine) setState({ data })
      },
      (error: unknown) => {
        if (turn.current === mine) setState((before) => ({ ...before, error }))
      },
    )
  }, [])

  useEffect(() => {
    reload()
    return () => {
      turn.current += 1
    }
  }, [reload, key])
  return { data: state.data, error: state.error, reload }
}

/** Calls `onChange` when the site says that decisions or sessions of this person changed. */
export function useSiteEvents(onChange: () => void): void {
  const latest = useRef(onChange)
  latest.current = onChange
  useEffect(() => {
    const stop = new AbortController()
    void listen(() => latest.current(), stop.signal)
    return () => stop.abort()
  }, [])
}

/** Calls `onTick` every so often while the page can be seen. */
export function useInterval(onTick: () => void, everyMs: number): void {
  const latest = useRef(onTick)
  latest.current = onTick
  useEffect(() => {
    const timer = setInterval(() => {
      if (document.visibilityState === 'visible') latest.current()
    }, everyMs)
    return () => clearInterval(timer)
  }, [everyMs])
}
