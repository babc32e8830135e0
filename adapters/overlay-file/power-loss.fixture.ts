import type { OverlayFile, OverlayFolder } from './overlay-folder.ts'

const sectorBytes = 512

interface State {
  /** What everybody sees. */
  now: Uint8Array
  /** What is on the disk for certain. */
  durable: Uint8Array
  /** What may be there in part. */
  pending: { position: number; bytes: Uint8Array }[]
}

/**
 * A folder in memory that loses its power after a number of steps: what was not synced is then there or not, sector by
 * sector, and all later calls fail.
 */
export class FragileFolder implements OverlayFolder {
  readonly #files: Map<string, State>
  readonly #chance: () => number
  /** Names that are on the disk for certain. */
  #durableNames: Map<string, State>
  #stepsLeft: number
  /** How often a file was put in the place of one that was there. */
  replaced = 0
  /**
   * The file, or '.' for the folder, whose next sync finds out that the disk is full. It says so once, and what was to be
   * made durable stays in the system's memory only.
   */
  full: string | undefined

  /** @param chance 0 ≤ r < 1 */
  constructor(chance: () => number, steps: number, files = new Map<string, State>()) {
    this.#files = files
    this.#durableNames = new Map(files)
    this.#chance = chance
    this.#stepsLeft = steps
  }

  /** The folder as it is found when the power comes back. */
  afterPowerLoss(steps: number): FragileFolder {
    const found = new Map<string, State>()
    for (const [name, state] of this.#files) {
      if (this.#durableNames.get(name) === state || this.#chance() < 0.5)
        found.set(name, this.#survivor(state))
    }
    for (const [name, state] of this.#durableNames)
      if (!found.has(name)) found.set(name, this.#survivor(state))
    return new FragileFolder(this.#chance, steps, found)
  }

  /** The folder as it is found when only the process ended: the system still has all that was written. */
  afterKill(steps: number): FragileFolder {
    const next = new FragileFolder(this.#chance, steps, this.#files)
    next.#durableNames = this.#durableNames
    return next
  }

  async open(name: string): Promise<OverlayFile | undefined> {
    await this.#step()
    const state = this.#files.get(name)
    return state && this.#file(state)
  }

  async create(name: string): Promise<OverlayFile> {
    await this.#step()
    const state: State = { now: new Uint8Array(0), durable: new Uint8Array(0), pending: [] }
    this.#files.set(name, state)
    return this.#file(state)
  }

  async replace(name: string, target: string): Promise<void> {
    await this.#step()
    const state = this.#files.get(name)
    if (!state) throw new Error(`${name} is missing`)
    if (this.#files.has(target)) this.replaced++
    this.#files.delete(name)
    this.#files.set(target, state)
  }

  async sync(): Promise<void> {
    await this.#step()
    this.#requireRoom('.')
    this.#durableNames = new Map(this.#files)
  }

  async remove(name: string): Promise<void> {
    await this.#step()
    this.#files.delete(name)
  }

  #file(state: State): OverlayFile {
    return {
      read: async (into, position) => {
        await this.#step()
        const bytes = state.now.subarray(position, position + into.length)
        into.set(bytes)
        return bytes.length
      },
      write: async (bytes, position) => {
        if (this.#stepsLeft < 0) throw new PowerLost()
        // It may be cut off anywhere: the bytes are pending before the step that may be the last.
        state.now = laidOver(state.now, bytes, position)
        state.pending.push({ position, bytes: bytes.slice() })
        await this.#step()
      },
      datasync: async () => {
        const synced = state.pending.length
        await this.#step()
        const written = state.pending.splice(0, synced)
        if (this.#files.get(this.full ?? '') === state) this.#requireRoom(this.full)
        for (const { position, bytes } of written) {
          state.durable = laidOver(state.durable, bytes, position)
        }
      },
      truncate: async (sizeBytes) => {
        await this.#step()
        state.now = state.now.slice(0, sizeBytes)
      },
      sizeBytes: async () => state.now.length,
      close: async () => {},
    }
  }

  #survivor({ durable, pending }: State): State {
    let bytes = durable
    for (const write of pending) {
      const luck = this.#chance()
      for (let at = 0; at < write.bytes.length; ) {
        const length = Math.min(write.bytes.length - at, sectorBytes - ((write.position + at) % sectorBytes))
        if (this.#chance() < luck) {
          bytes = laidOver(bytes, write.bytes.subarray(at, at + length), write.position + at)
        }
        at += length
      }
    }
    return { now: bytes, durable: bytes, pending: [] }
  }

  #requireRoom(name: string | undefined): void {
    if (this.full !== name) return
    this.full = undefined
    throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' })
  }

  async #step(): Promise<void> {
    if (--this.#stepsLeft < 0) throw new PowerLost()
    await Promise.resolve()
    if (this.#stepsLeft < 0) throw new PowerLost()
  }
}

export class PowerLost extends Error {}

function laidOver(bytes: Uint8Array, part: Uint8Array, position: number): Uint8Array {
  const whole = new Uint8Array(Math.max(bytes.length, position + part.length))
  whole.set(bytes)
  whole.set(part, position)
  return whole
}
