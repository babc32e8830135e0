import type { Sink } from './byte-feed.ts'
import { encoding } from './encodings.ts'
import type { ClipboardDirection, RfbEvent, RfbOutput, RfbRights } from './filter-types.ts'
import { type Area, encodeSetEncodings, encodeUpdateRequest } from './messages.ts'
import type { PixelFormat } from './pixel-format.ts'
import { layWatermark, type Watermark } from './watermark.ts'

/** Largest text ever passed, bytes. */
const maxClipboardBytes = 16 * 1024 * 1024

/** A viewer that changes to and fro has neither laid out anew. */
const keptWatermarks = 2

interface LaidWatermark {
  /** Of all that it depends on. */
  readonly key: string
  readonly watermark: Watermark
}

/** What the two streams of one connection know of each other, and where they write. */
export class Session {
  rights: RfbRights
  frozen = false
  width = 0
  height = 0
  /** The format of what the server sends now; unknown before ServerInit. */
  format: PixelFormat | undefined
  /** Formats the viewer asked for, each to hold after the server's next answer to a format fence. */
  readonly formatChanges: PixelFormat[] = []
  /** The viewer asked for a picture: from now on the server may send one at any time. */
  updatesRequested = false
  /** The server sent a fence, so it answers those of the filter. */
  serverFences = false
  /** The server knows pointer events with more than eight buttons. */
  serverExtendedButtons = false

  #viewerEncodings: readonly number[] = []
  #watermark: Watermark | undefined
  #laid: readonly LaidWatermark[] = []
  #isStale = false
  #toClient: Uint8Array[] = []
  #toServer: Uint8Array[] = []
  #events: RfbEvent[] = []

  constructor(rights: RfbRights) {
    this.rights = rights
  }

  readonly sendToClient: Sink = (bytes) => append(this.#toClient, bytes)

  /** INVARIANT: only whole messages, so that the filter's own may follow at any time. */
  readonly sendToServer: Sink = (bytes) => append(this.#toServer, bytes)

  report(event: RfbEvent): void {
    if (event.kind !== 'input' || !this.#events.some(({ kind }) => kind === 'input')) this.#events.push(event)
  }

  /** Everything written since the last time. */
  collect(): RfbOutput {
    const output = { toClient: this.#toClient, toServer: this.#toServer, events: this.#events }
    this.#toClient = []
    this.#toServer = []
    this.#events = []
    return output
  }

  get mayInput(): boolean {
    return this.rights.input && !this.frozen
  }

  mayCopy(direction: ClipboardDirection): boolean {
    return !this.frozen && (direction === 'in' ? this.rights.clipboardIn : this.rights.clipboardOut)
  }

  get clipboardMaxBytes(): number {
    return Math.max(0, Math.min(this.rights.clipboardMaxBytes, maxClipboardBytes))
  }

  /** True when the server believes that the viewer knows the encoding. */
  lists(number: number): boolean {
    return this.#viewerEncodings.includes(number)
  }

  /** Keeps the viewer's list, of parsable encodings only, and tells the server. */
  setEncodings(numbers: readonly number[]): void {
    this.#viewerEncodings = numbers
    this.updateWatermark()
    this.sendEncodings()
  }

  /** Tells the server the viewer's list; under a watermark without CopyRect, which would smear it. */
  sendEncodings(): void {
    const marked = this.rights.watermark !== undefined
    const numbers = this.#viewerEncodings.filter((number) => !marked || number !== encoding.copyRect)
    if (this.#viewerEncodings.length > 0) this.sendToServer(encodeSetEncodings(numbers))
  }

  resize(width: number, height: number): void {
    this.width = width
    this.height = height
    this.updateWatermark()
  }

  /** Call when its lines, the screen, the pixel format or the viewer's encodings may have changed. */
  updateWatermark(): void {
    this.#isStale = true
  }

  /** As it is now. Laid out only when it is asked for: a viewer can change its format much more often than pictures come. */
  get watermark(): Watermark | undefined {
    if (this.#isStale) this.#watermark = this.#layWatermark()
    this.#isStale = false
    return this.#watermark
  }

  #layWatermark(): Watermark | undefined {
    const lines = this.rights.watermark
    const { width, height, format } = this
    if (lines === undefined || format === undefined) return undefined
    const tight = this.lists(encoding.tight)
    const key = [width, height, format.identity, tight, ...lines].join('\n')
    const kept = this.#laid.find((one) => one.key === key)
    const laid = kept ?? { key, watermark: layWatermark(lines, { width, height, format, tight }) }
    this.#laid = [laid, ...this.#laid.filter((one) => one !== kept)].slice(0, keptWatermarks)
    // What was painted while another one was in use has gone over this one.
    if (laid.watermark !== this.#watermark) laid.watermark.touch(this.screen)
    return laid.watermark
  }

  /** Asks the server to send areas again; before the viewer's own first request it has nothing to restore. */
  refresh(areas: readonly Area[]): void {
    if (!this.updatesRequested || this.frozen) return
    for (const area of areas) this.sendToServer(encodeUpdateRequest(area))
  }

  get screen(): Area {
    return { x: 0, y: 0, width: this.width, height: this.height }
  }
}

/** Pieces that lie side by side in memory become one. */
function append(pieces: Uint8Array[], bytes: Uint8Array): void {
  const last = pieces.at(-1)
  if (last?.buffer === bytes.buffer && last.byteOffset + last.byteLength === bytes.byteOffset) {
    pieces[pieces.length - 1] = new Uint8Array(last.buffer, last.byteOffset, last.length + bytes.length)
  } else if (bytes.length > 0) pieces.push(bytes)
}
