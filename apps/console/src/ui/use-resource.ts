import { useEffect, useEffectEvent, useState } from 'react'
import type { PersonEvent } from '#core/api/person.ts'
import { siteNow } from '../api/client.ts'
import { listen } from '../api/events.ts'
import { createResource } from './resource.ts'
import { createStore, type Store, useStore } from './store.ts'

/** What a page has of something the site knows. Old data stays while newer is on its way. */
export interface Resource<T> {
  readonly data: T | undefined
  readonly error: unknown
  readonly reload: () => void
}

/** What is shown as it was, because the site last gave an error instead. The page says so. */
export const outdated = createStore<readonly { readonly state: Store<{ readonly error?: unknown }> }[]>([])

/** Loads something from the site when the page appears, and again on `reload`. */
export function useResource<T>(load: () => Promise<T>): Resource<T> {
  const [resource] = useState(() => createResource(load))
  const state = useStore(resource.state)
  useEffect(() => resource.reload(), [resource])
  const isOld = state.data !== undefined && state.error !== undefined
  useEffect(() => {
    if (!isOld) return undefined
    outdated.set([...outdated.get(), resource])
    return () => outdated.set(outdated.get().filter((other) => other !== resource))
  }, [isOld, resource])
  return { data: state.data, error: state.error, reload: resource.reload }
}

/** Calls `onChange` when the site says that decisions or sessions of this person changed. */
export function useSiteEvents(onChange: (event: PersonEvent) => void): void {
  const changed = useEffectEvent(onChange)
  useEffect(() => {
    const stop = new AbortController()
    void listen((event) => changed(event), stop.signal)
    return () => stop.abort()
  }, [])
}

/** Calls `onTick` every so often while the page can be seen. */
export function useInterval(onTick: () => void, everyMs: number): void {
  const ticked = useEffectEvent(onTick)
  useEffect(() => {
    const timer = setInterval(() => {
      if (document.visibilityState === 'visible') ticked()
    }, everyMs)
    return () => clearInterval(timer)
  }, [everyMs])
}

/** The present time at the site, Unix ms, as fresh as `everyMs`. */
export function useNow(everyMs = 10_000): number {
  const [now, setNow] = useState(siteNow)
  useInterval(() => setNow(siteNow()), everyMs)
  return now
}
