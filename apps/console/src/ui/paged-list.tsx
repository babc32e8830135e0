import { type ReactElement, useState } from 'react'
import { TextField } from './fields.tsx'
import { createStore, useStore } from './store.ts'
import { type Resource, useResource } from './use-resource.ts'

const pageSize = 50

/** As a list is asked for: the search, what else narrows it, and behind which row the page begins. */
export function pageQuery(
  { search, narrowed, size }: Pick<Shown, 'search' | 'narrowed' | 'size'>,
  after: string | undefined,
): string {
  const words = search.trim()
  const query = { limit: String(size), ...narrowed, ...(words === '' ? {} : { search: words }) }
  return String(new URLSearchParams(after === undefined ? query : { ...query, after }))
}

/** The page that is shown of a list too long to be loaded whole. */
export interface Pages<T> extends Resource<T> {
  readonly search: string
  /** Of the first row, counted from 1. */
  readonly from: number
  readonly onSearch: (search: string) => void
  /** What narrows the list beside the search, as the query says it. */
  readonly narrowed: Readonly<Record<string, string>>
  readonly onNarrow: (narrowed: Readonly<Record<string, string>>) => void
  /** Absent where there is no such page. */
  readonly onNext: (() => void) | undefined
  readonly onPrevious: (() => void) | undefined
}

/** @param load is asked for a page by its query; `next` of its answer begins the one after it */
export function usePages<T extends { readonly next?: string | undefined }>(
  load: (query: string) => Promise<T>,
  size = pageSize,
): Pages<T> {
  const [shown] = useState(() => createStore<Shown>({ search: '', narrowed: {}, size, begins: [] }))
  const now = useStore(shown)
  const { search, narrowed, begins } = now
  const resource = useResource(() => load(pageQuery(shown.get(), shown.get().begins.at(-1))))
  const show = (next: Shown): void => {
    shown.set(next)
    resource.reload()
  }
  /** A page begins at its top. */
  const turn = (to: readonly string[]): void => {
    window.scrollTo(0, 0)
    show({ ...now, begins: to })
  }
  const next = resource.data?.next
  return {
    ...resource,
    search,
    narrowed,
    from: begins.length * size + 1,
    onSearch: (wanted) => show({ ...now, search: wanted, begins: [] }),
    onNarrow: (wanted) => show({ ...now, narrowed: wanted, begins: [] }),
    onNext: next === undefined ? undefined : () => turn([...begins, next]),
    onPrevious: begins.length === 0 ? undefined : () => turn(begins.slice(0, -1)),
  }
}

interface Shown {
  readonly search: string
  readonly narrowed: Readonly<Record<string, string>>
  /** Rows of a page. */
  readonly size: number
  /** After which row each page since the first begins. */
  readonly begins: readonly string[]
}

/** The search over a long list, and which part of what it finds is shown. */
export function PageSearch(props: {
  readonly label: string
  readonly pages: Pages<unknown>
  readonly shown: number
  readonly count: number
  /** What else there is to say of all that were found. */
  readonly more?: string
}): ReactElement {
  const { pages, shown, count, more } = props
  const range =
    shown === 0 ? '0' : `${pages.from.toLocaleString()}–${(pages.from + shown - 1).toLocaleString()}`
  return (
    <>
      <search className="filter">
        <TextField
          label={props.label}
          type="search"
          maxLength={100}
          value={pages.search}
          onChange={(event) => pages.onSearch(event.target.value)}
        />
        <span className="muted" role="status">
          {range} of {count.toLocaleString()}
          {more !== undefined && `, ${more}`}
        </span>
      </search>
      {shown === 0 && (
        <p className="muted">
          {pages.search.trim() === ''
            ? 'Nothing is here any more.'
            : `Nothing is like “${pages.search.trim()}”.`}
        </p>
      )}
    </>
  )
}

/** The ways to the pages before and after; nothing where all is on one. */
export function PageTurns({ pages }: { readonly pages: Pages<unknown> }): ReactElement | null {
  if (pages.onPrevious === undefined && pages.onNext === undefined) return null
  return (
    <nav className="row-actions" aria-label="Pages">
      <Turn label="Previous" onTurn={pages.onPrevious} />
      <Turn label="Next" onTurn={pages.onNext} />
    </nav>
  )
}

function Turn(props: { readonly label: string; readonly onTurn: (() => void) | undefined }): ReactElement {
  return (
    <button type="button" className="button" disabled={props.onTurn === undefined} onClick={props.onTurn}>
      {props.label}
    </button>
  )
}
