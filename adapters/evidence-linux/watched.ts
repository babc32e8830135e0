import { type FSWatcher, watch } from 'node:fs'
import { basename, dirname } from 'node:path'

/** How often cheap things are looked at that the kernel does not tell of. */
const glanceMs = 1_000

/**
 * Calls back when one of the files appears, goes or is written to (inotify). Files whose folder is not there are not watched.
 */
export function watchFiles(paths: readonly string[], changed: () => void, signal: AbortSignal): void {
  for (const [folder, some] of Map.groupBy(paths, (path) => dirname(path))) {
    const names = new Set(some.map((path) => basename(path)))
    watchFolder(folder, (name) => name !== null && names.has(name) && changed(), signal)
  }
}

/**
 * Calls back when a glance differs from the one before: of what the kernel answers at once. A glance that fails differs from one that does not.
 */
export function watchGlance(
  glance: () => string | undefined,
  changed: () => void,
  signal: AbortSignal,
): void {
  const look = (): string | undefined => {
    try {
      return glance()
    } catch {
      return undefined
    }
  }
  let last = look()
  const timer = setInterval(() => {
    const now = look()
    if (now === last) return
    last = now
    changed()
  }, glanceMs)
  timer.unref()
  signal.addEventListener('abort', () => clearInterval(timer))
}

function watchFolder(folder: string, see: (name: string | null) => void, signal: AbortSignal): void {
  let watcher: FSWatcher
  try {
    watcher = watch(folder, { persistent: false })
  } catch {
    // No such folder, or no more watches: the next round of all collectors sees what changed.
    return
  }
  watcher.on('change', (_, name) => see(typeof name === 'string' ? name : null))
  watcher.on('error', () => watcher.close())
  signal.addEventListener('abort', () => watcher.close())
}
