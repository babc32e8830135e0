import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { copyNotice, type SessionNotice, sessionNotice } from '#core/api/person.ts'
import { decodeUtf8 } from '#core/bytes/index.ts'
import type { Channel } from '#core/channel/index.ts'
import { type Rig, until } from './host.rig.ts'

/** Opens a session with a new ticket. */
export async function openViewer(rig: Rig, sessionId: string): Promise<RfbPerson> {
  const viewer = new RfbPerson((await rig.invite(sessionId)).open())
  await viewer.ready
  return viewer
}

/** Types `echo WORD > NAME` until it has been done, since a shell that starts may miss the first keys. Returns the file. */
export async function typeUntilFile(
  rig: Rig,
  viewer: RfbPerson,
  name: string,
  word: string,
): Promise<string> {
  const file = join(rig.homesDir, rig.account, name)
  // What an earlier session left in the home says nothing about this one's shell.
  await rm(file, { force: true })
  let tries = 0
  return until(() => {
    if (tries++ % 25 === 0) viewer.type(`echo ${word} > ${name}\n`)
    return readFile(file, 'utf8').then(
      (text) => (text === '' ? undefined : text),
      () => undefined,
    )
  })
}

/** A person at a simple RFB viewer: types, copies, and remembers what came. */
export class RfbPerson {
  readonly channel: Channel
  readonly notices: SessionNotice[] = []
  readonly clipboard: string[] = []
  /** How often copies were said to be too large. */
  copiesKept = 0
  /** Rectangles of picture that came. */
  pictures = 0
  /** Gets the pixels of each rectangle: blue, green, red, nothing. */
  onPicture: ((pixels: Buffer) => void) | undefined
  closedBy: string | undefined
  readonly ready: Promise<void>
  #bytes = Buffer.alloc(0)
  #wake: () => void = () => undefined

  constructor(channel: Channel) {
    this.channel = channel
    channel.onNotice = (bytes) => {
      const content: unknown = JSON.parse(decodeUtf8(bytes))
      if (copyNotice.safeParse(content).success) this.copiesKept += 1
      else this.notices.push(sessionNotice.parse(content))
    }
    channel.onState = (state, reason) => {
      if (state === 'closed') this.closedBy = reason ?? ''
      this.#wake()
    }
    channel.onData = (data) => {
      this.#bytes = Buffer.concat([this.#bytes, data])
      this.#wake()
    }
    const started = Promise.withResolvers<void>()
    this.ready = started.promise
    this.ready.catch(() => undefined)
    this.#converse(started.resolve).catch((error: unknown) => started.reject(error))
  }

  /** Types on a US keyboard; the display server presses Shift by itself. */
  type(text: string): void {
    for (const character of text) this.press(character === '\n' ? 0xff0d : (character.codePointAt(0) ?? 0))
  }

  /** Presses a key and releases it, while another one may be held. */
  press(keysym: number, held?: number): void {
    if (held !== undefined) this.#key(held, 1)
    this.#key(keysym, 1)
    this.#key(keysym, 0)
    if (held !== undefined) this.#key(held, 0)
  }

  /** Puts text on the viewer's clipboard. */
  copy(text: string): void {
    const head = Buffer.alloc(8)
    head[0] = 6
    head.writeUInt32BE(text.length, 4)
    this.channel.send(Buffer.concat([head, Buffer.from(text, 'latin1')]))
  }

  #key(keysym: number, down: number): void {
    const message = Buffer.from([4, down, 0, 0, 0, 0, 0, 0])
    message.writeUInt32BE(keysym, 4)
    this.channel.send(message)
  }

  /** RFC 6143, sections 7.1 and 7.3, then raw pictures for ever. */
  async #converse(ready: () => void): Promise<void> {
    await this.#take(12)
    this.channel.send(Buffer.from('RFB 003.008\n'))
    const types = await this.#take((await this.#take(1))[0] ?? 0)
    if (!types.includes(1)) throw new Error('expected security type None')
    this.channel.send(Buffer.from([1]))
    await this.#take(4)
    this.channel.send(Buffer.from([1]))
    const init = await this.#take(24)
    await this.#take(init.readUInt32BE(20))
    const size = [init.readUInt16BE(0), init.readUInt16BE(2)] as const
    this.channel.send(Buffer.from([2, 0, 0, 1, 0, 0, 0, 0]))
    this.#request(size, 0)
    ready()
    for (;;) await this.#message(size)
  }

  async #message(size: readonly [number, number]): Promise<void> {
    const type = (await this.#take(1))[0]
    if (type === 3) {
      const length = (await this.#take(7)).readUInt32BE(3)
      this.clipboard.push((await this.#take(length)).toString('latin1'))
    } else if (type === 0) {
      const count = (await this.#take(3)).readUInt16BE(1)
      for (let seen = 0; seen < count; seen++) {
        const head = await this.#take(12)
        const pixels = await this.#take(head.readUInt16BE(4) * head.readUInt16BE(6) * 4)
        this.pictures += 1
        this.onPicture?.(pixels)
      }
      this.#request(size, 1)
    } else if (type !== 2) throw new Error(`unexpected message ${type}`)
  }

  #request([width, height]: readonly [number, number], incremental: number): void {
    const message = Buffer.from([3, incremental, 0, 0, 0, 0, 0, 0, 0, 0])
    message.writeUInt16BE(width, 6)
    message.writeUInt16BE(height, 8)
    this.channel.send(message)
  }

  async #take(length: number): Promise<Buffer> {
    while (this.#bytes.length < length) {
      if (this.closedBy !== undefined) throw new Error(`closed: ${this.closedBy}`)
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    const taken = this.#bytes.subarray(0, length)
    this.#bytes = this.#bytes.subarray(length)
    return taken
  }
}
