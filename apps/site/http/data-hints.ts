import type { Hint } from '#adapters/store-postgres/index.ts'
import { isAdmin, isAuditor, type SignedIn } from '../people/signed-in.ts'
import type { Site } from '../site.ts'

/** Many endpoints may change at once; who looks at all of them is told so often at most. */
const mostOftenMs = 1_000

/** Calls `tell` when where data is may have changed, at once and then at most once a second, for whoever may see that. @returns how to stop */
export function onDataChange(site: Site, caller: SignedIn, tell: () => void): () => void {
  if (!isAdmin(caller) && !isAuditor(caller)) return () => undefined
  let timer: NodeJS.Timeout | undefined
  let isDue = false
  const rest = (): void => {
    timer = undefined
    if (isDue) say()
  }
  const say = (): void => {
    isDue = false
    timer = setTimeout(rest, mostOftenMs)
    tell()
  }
  const off = site.hints.on((hint) => {
    if (!isAboutData(hint)) return
    if (timer === undefined) say()
    else isDue = true
  })
  return () => {
    off()
    clearTimeout(timer)
  }
}

function isAboutData({ topic }: Hint): boolean {
  return (
    topic === 'person' || topic === 'endpoint' || topic === 'host' || topic === 'zones' || topic === 'lost'
  )
}
