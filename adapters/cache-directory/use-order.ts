import { setImmediate } from 'node:timers/promises'
import type { FoundFile } from './layout.ts'

interface Use {
  sizeBytes: number
  usedMs: number
  /** What the file says. */
  touchedMs: number
}

/** What a file takes on the disk: its blocks, about. */
const blockBytes = 4096
/** A use is written to the file once in so long. */
const touchEveryMs = 60_000
/** Readers wait no longer than for so many files to be put in order. */
const turnFiles = 512

/** The files of a cache by when they were used last, the one of longest ago first. */
export class UseOrder {
  #files = new Ordered()
  /** What was forgotten since a look at all files began. */
  #forgotten: Set<string> | undefined

  get size(): number {
    return this.#files.uses.size
  }

  /** What all files together take on the disk. */
  get totalBytes(): number {
    return this.#files.totalBytes
  }

  has(file: string): boolean {
    return this.#files.uses.has(file)
  }

  /** A file was written now. */
  written(file: string, sizeBytes: number, nowMs: number): void {
    this.#files.append(file, { sizeBytes, usedMs: nowMs, touchedMs: nowMs })
  }

  /** A file was read now. @returns whether this should be written to it */
  read(file: string, sizeBytes: number, touchedMs: number, nowMs: number): boolean {
    const known = this.#files.uses.get(file)?.touchedMs ?? touchedMs
    const isTouched = nowMs - known > touchEveryMs
    this.#files.append(file, { sizeBytes, usedMs: nowMs, touchedMs: isTouched ? nowMs : known })
    return isTouched
  }

  forget(file: string): void {
    this.#files.delete(file)
    this.#forgotten?.add(file)
  }

  /** The file that was used longest ago. */
  oldest(): string | undefined {
    return this.#files.uses.keys().next().value
  }

  /**
   * Takes what a look at all files finds: other processes may have added, used and removed some. Meanwhile all else
   * goes on, and is known better here.
   *
   * @param sinceMs when the look begins
   */
  async replace(found: AsyncIterable<FoundFile>, sinceMs: number, signal: AbortSignal): Promise<void> {
    this.#forgotten = new Set()
    const inOrder = await this.#merged(found)
    const next = new Ordered()
    let turn = 0
    for (const [file, use] of inOrder) {
      next.append(file, use)
      if (++turn % turnFiles === 0) await setImmediate()
    }
    if (signal.aborted) return
    for (const file of this.#forgotten) next.delete(file)
    for (const [file, use] of this.#files.uses) if (use.usedMs >= sinceMs) next.append(file, use)
    this.#files = next
    this.#forgotten = undefined
  }

  /** What was found, with what is known of it, in the order of use: what is known comes first within a minute. */
  async #merged(found: AsyncIterable<FoundFile>): Promise<Iterable<[string, Use]>> {
    const files = new Map<string, FoundFile>()
    for await (const one of found) files.set(one.file, one)
    const uses: [string, Use][] = []
    let turn = 0
    for (const [file, use] of this.#files.uses) {
      if (++turn % turnFiles === 0) await setImmediate()
      const there = files.get(file)
      if (there === undefined) continue
      uses.push([file, { ...use, usedMs: Math.max(use.usedMs, there.touchedMs) }])
      files.delete(file)
    }
    for (const { file, sizeBytes, touchedMs } of files.values()) {
      if (++turn % turnFiles === 0) await setImmediate()
      uses.push([file, { sizeBytes, usedMs: touchedMs, touchedMs }])
    }
    return byMinute(uses)
  }
}

/** Files in an order, with their total. */
class Ordered {
  readonly uses: Map<string, Use> = new Map()
  totalBytes = 0

  /** Puts a file last. */
  append(file: string, use: Use): void {
    this.delete(file)
    this.uses.set(file, use)
    this.totalBytes += diskBytes(use.sizeBytes)
  }

  delete(file: string): void {
    const use = this.uses.get(file)
    if (use === undefined) return
    this.uses.delete(file)
    this.totalBytes -= diskBytes(use.sizeBytes)
  }
}

/**
 * In the order of their minutes: files are no more precise. One number holds minute and place, since there may be a
 * million, nothing else goes on meanwhile, and numbers are sorted ten times as quickly as anything else.
 */
function* byMinute(uses: readonly [string, Use][]): Generator<[string, Use]> {
  const keys = new Float64Array(uses.length)
  for (const [index, [, { usedMs }]] of uses.entries()) {
    keys[index] = Math.floor(usedMs / 60_000) * mostFiles + index
  }
  for (const key of keys.toSorted()) {
    const use = uses[key % mostFiles]
    if (use !== undefined) yield use
  }
}

/** Minutes since 1970 leave so much of a number that is exact. */
const mostFiles = 2 ** 27

export function diskBytes(sizeBytes: number): number {
  return Math.ceil(sizeBytes / blockBytes) * blockBytes
}
