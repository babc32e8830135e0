import { lchown, rm } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { constants, inflateSync } from 'node:zlib'
import type { DisplayTerms } from '#core/agent/endpoint-messages.ts'
import { createRfbFilter, type RfbFilter, type RfbOutput, type RfbRights } from '#core/rfb/index.ts'
import { listenAlone } from '../control-socket.ts'

export interface VmDisplayOptions {
  /** Where the VM itself listens: RFB without anything between. */
  readonly source: string
  /** Told of a viewer that broke the protocol. */
  readonly warn: (error: unknown) => void
  /** A clock that goes on while this machine sleeps, ms. */
  readonly steadyMs: () => number
  readonly now?: () => number
}

const minuteMs = 60_000

/**
 * What people see of a VM, with the decision's rights and obligations enforced between it and every viewer.
 *
 * INVARIANT: nobody reaches the VM's own display past this; what is not permitted does not pass, whoever the viewer is.
 */
export class VmDisplay implements AsyncDisposable {
  readonly #options: Required<VmDisplayOptions>
  readonly #viewers = new Set<Viewer>()
  readonly #clock: NodeJS.Timeout
  #server: Server | undefined
  #path: string | undefined
  #terms: DisplayTerms | undefined
  #usedAt: number

  constructor(options: VmDisplayOptions) {
    this.#options = { now: Date.now, ...options }
    this.#usedAt = options.steadyMs()
    // The time stands in the watermark.
    this.#clock = setInterval(() => this.#update(), minuteMs)
    this.#clock.unref()
  }

  /** Since somebody used keyboard or pointer, or could begin to, ms: what this machine slept is among it. */
  get idleMs(): number {
    return this.#options.steadyMs() - this.#usedAt
  }

  get viewers(): number {
    return this.#viewers.size
  }

  /** Enforces other terms, on everybody who looks on, at once; undefined closes it until there are terms again. */
  apply(terms: DisplayTerms | undefined): void {
    if (this.#terms === undefined) this.#usedAt = this.#options.steadyMs()
    this.#terms = terms
    if (terms === undefined) for (const viewer of this.#viewers) viewer.end()
    else this.#update()
  }

  /** Shows it to one viewer that speaks RFB, whatever connects it. Ended at once while it is closed. */
  serve(stream: Duplex): void {
    const terms = this.#terms
    if (terms === undefined) {
      stream.destroy()
      return
    }
    const viewer = new Viewer(stream, this.#options.source, rightsOf(terms, this.#options.now()), {
      onInput: () => {
        this.#usedAt = this.#options.steadyMs()
      },
      onEnd: (cause) => {
        this.#viewers.delete(viewer)
        if (cause !== undefined) this.#options.warn(cause)
      },
    })
    this.#viewers.add(viewer)
  }

  /** Serves viewers on a unix socket that only its owner can use, and on no other any more. @param owner who else than this process's account */
  async listen(path: string, owner?: { readonly uid: number; readonly gid: number }): Promise<void> {
    await this.#hangUp()
    const server = createServer((socket) => this.serve(socket))
    await listenAlone(server, path)
    if (owner !== undefined) await lchown(path, owner.uid, owner.gid)
    this.#server = server
    this.#path = path
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#clock)
    this.apply(undefined)
    await this.#hangUp()
  }

  async #hangUp(): Promise<void> {
    this.#server?.close()
    if (this.#path !== undefined) await rm(this.#path, { force: true })
  }

  #update(): void {
    const terms = this.#terms
    if (terms === undefined) return
    for (const viewer of this.#viewers) viewer.setRights(rightsOf(terms, this.#options.now()))
  }
}

function rightsOf({ rights, obligations, fullName }: DisplayTerms, now: number): RfbRights {
  const minute = `${new Date(now).toISOString().slice(0, 16).replace('T', ' ')} UTC`
  return {
    input: rights.includes('input'),
    clipboardIn: rights.includes('clipboard-in'),
    clipboardOut: rights.includes('clipboard-out'),
    clipboardMaxBytes: obligations.clipboardMaxBytes,
    watermark: obligations.watermark ? [fullName, minute] : undefined,
  }
}

interface ViewerEvents {
  readonly onInput: () => void
  readonly onEnd: (cause: unknown) => void
}

/** One viewer and a connection to the display, with a filter between. */
class Viewer {
  readonly #stream: Duplex
  readonly #display: Socket
  readonly #filter: RfbFilter
  readonly #events: ViewerEvents
  #isOver = false

  constructor(stream: Duplex, source: string, rights: RfbRights, events: ViewerEvents) {
    this.#stream = stream
    this.#filter = createRfbFilter({ rights, inflate })
    this.#events = events
    this.#display = connect(source)
    this.#display.on('data', (bytes) => this.#pass(() => this.#filter.fromServer(bytes)))
    stream.on('data', (bytes: Uint8Array) => this.#pass(() => this.#filter.fromClient(bytes)))
    this.#display.on('drain', () => stream.resume())
    stream.on('drain', () => this.#display.resume())
    for (const end of [stream, this.#display]) {
      end.on('error', () => this.end())
      end.on('close', () => this.end())
    }
  }

  setRights(rights: RfbRights): void {
    this.#pass(() => this.#filter.setRights(rights))
  }

  end(cause?: unknown): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#stream.destroy()
    this.#display.destroy()
    this.#events.onEnd(cause)
  }

  #pass(filter: () => RfbOutput): void {
    if (this.#isOver) return
    try {
      const { toClient, toServer, events } = filter()
      if (events.some(({ kind }) => kind === 'input')) this.#events.onInput()
      if (toServer.length > 0 && !this.#display.write(Buffer.concat(toServer))) this.#stream.pause()
      if (toClient.length > 0 && !this.#stream.write(Buffer.concat(toClient))) this.#display.pause()
    } catch (error) {
      this.end(error)
    }
  }
}

/** A clipboard's zlib stream ends at a sync flush. */
function inflate(data: Uint8Array, maxBytes: number): Uint8Array | undefined {
  try {
    return inflateSync(data, { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: maxBytes })
  } catch {
    return undefined
  }
}
