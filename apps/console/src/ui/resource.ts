import { createStore, type Store } from './store.ts'

export interface ResourceState<T> {
  readonly data?: T
  readonly error?: unknown
}

/**
 * Something the site knows, as it was last heard. One request at a time: `reload` while one is on its way loads once more when that is over,
 * however often it was called, so that nothing piles up where no answer comes.
 */
export function createResource<T>(load: () => Promise<T>): {
  readonly state: Store<ResourceState<T>>
  readonly reload: () => void
} {
  const state = createStore<ResourceState<T>>({})
  let wanted = false
  let loading = false
  async function loadWhileWanted(): Promise<void> {
    loading = true
    while (wanted) {
      wanted = false
      try {
        state.set({ data: await load() })
      } catch (error) {
        state.set({ ...state.get(), error })
      }
    }
    loading = false
  }
  return {
    state,
    reload() {
      wanted = true
      if (!loading) void loadWhileWanted()
    },
  }
}
