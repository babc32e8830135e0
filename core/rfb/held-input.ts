import { viewOf } from './byte-feed.ts'
import { clientMessage, encodePointerEvent } from './messages.ts'

/** More keys than any keyboard holds down; further ones are not passed. */
const maxHeldKeys = 256

/** Keys and buttons that are down at the server, so that none sticks when input is withdrawn. */
export class HeldInput {
  readonly #releases = new Map<string, Uint8Array>()
  #pointer: { readonly x: number; readonly y: number; readonly buttons: number } = { x: 0, y: 0, buttons: 0 }

  /**
   * Notes a whole KeyEvent or QEMU extended key event; false when it must not be passed.
   *
   * Spec: RFC 6143 section 7.5.4: type | down u8 | 2 padding | keysym u32
   *       rfbproto "QEMU Extended Key Event": type | 0 | down u16 | keysym u32 | keycode u32
   */
  key(message: Uint8Array): boolean {
    const extended = message[0] === clientMessage.qemu
    const down = extended ? viewOf(message).getUint16(2) !== 0 : message[1] !== 0
    // The server pairs up and down by the keycode where there is one.
    const name = `${message[0]} ${message.subarray(extended ? 8 : 4).join(' ')}`
    if (!down) {
      this.#releases.delete(name)
      return true
    }
    if (!this.#releases.has(name) && this.#releases.size >= maxHeldKeys) return false
    const release = message.slice()
    release.fill(0, 1, 4)
    this.#releases.set(name, release)
    return true
  }

  pointer(x: number, y: number, buttons: number): void {
    this.#pointer = { x, y, buttons }
  }

  /** The messages that let everything go; afterwards nothing is down. */
  release(): readonly Uint8Array[] {
    const { x, y, buttons } = this.#pointer
    const messages = [...this.#releases.values()]
    if (buttons !== 0) messages.push(encodePointerEvent(x, y, 0))
    this.#releases.clear()
    this.pointer(x, y, 0)
    return messages
  }
}
