import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { constants, inflateSync } from 'node:zlib'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { steadyMs } from '#apps/agent-client/index.ts'
import { VmDisplay } from '#apps/endpoint/vm/display.ts'
import type { DisplayTerms } from '#core/agent/endpoint-messages.ts'
import { concatBytes, decodeUtf8, encodeUtf8, Writer } from '#core/bytes/index.ts'
import { defaultObligations } from '#core/policy/index.ts'
import {
  createRfbFilter,
  type RfbEvent,
  type RfbFilter,
  type RfbOutput,
  type RfbRights,
} from '#core/rfb/index.ts'
import { personAt } from './tiny-guest.rig.ts'

const width = 640
const height = 480
const rights: RfbRights = {
  input: true,
  clipboardIn: true,
  clipboardOut: true,
  clipboardMaxBytes: 100_000,
  watermark: undefined,
}
const watermark = ['alice@example.org', '2026-11-23 13:40']

const encodings = { raw: 0, copyRect: 1, rre: 2, hextile: 5, tight: 7, zrle: 16 }
const fence = -312
const features = [-239, -223, -224, -307, -308, fence, -313, -258, -261, 0xc0a1e5ce | 0]

/** A real Xvnc with a filter between its socket and another one. */
let directory: string
let display: string
let children: ChildProcess[]
let closers: (() => void)[]

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'rfb-'))
  children = []
  closers = []
  display = await startXvnc()
})

afterEach(async () => {
  for (const close of closers) close()
  await Promise.all(children.toReversed().map(end))
  await rm(directory, { recursive: true, force: true })
})

test('a viewer sees the picture, and the watermark over it in Raw and in Tight', async () => {
  await run('xsetroot', '-solid', '#204060')
  const plain = await view({ encodings: [encodings.raw] })
  await plain.until(() => plain.colours().has('204060'))
  expect(plain.colours().has('c8c8c8')).toBe(false)
  for (const list of [[encodings.raw], [encodings.tight, encodings.raw]]) {
    const marked = await view({ encodings: [...list, ...features], rights: { ...rights, watermark } })
    await marked.until(() => marked.colours().has('204060'))
    // The marks are the end of an update, whose pieces come one by one.
    await marked.until(() => marked.marks().areas >= 3 && marked.marks().light > 1000)
    await new Promise((resolve) => setTimeout(resolve, 500))
    const { light } = marked.marks()
    // What is painted over is marked again.
    marked.clear()
    await run('xsetroot', '-solid', '#602040')
    await marked.until(() => marked.colours().has('602040') && marked.colours().size === 3)
    await run('xsetroot', '-solid', '#204060')
    await marked.until(() => marked.colours().has('204060') && !marked.colours().has('602040'))
    await marked.until(() => marked.marks().light === light)
    // Taken away, the picture below comes back.
    marked.apply(marked.filter.setRights(rights))
    await marked.until(() => marked.colours().size === 1)
  }
})

test('a watermark that changes leaves nothing of the old one', async () => {
  await run('xsetroot', '-solid', '#204060')
  const viewer = await view({ encodings: [encodings.tight, ...features], rights: { ...rights, watermark } })
  await viewer.until(() => viewer.colours().has('204060'))
  viewer.apply(viewer.filter.setRights({ ...rights, watermark: ['13:41'] }))
  const fresh = await view({
    encodings: [encodings.tight, ...features],
    rights: { ...rights, watermark: ['13:41'] },
  })
  await fresh.until(() => fresh.colours().has('204060'))
  await viewer.until(() => Buffer.compare(viewer.pixels, fresh.pixels) === 0)
})

test('text leaves and enters only with the right', async () => {
  const barred = await view({ encodings: [encodings.raw], rights: { ...rights, clipboardOut: false } })
  const viewer = await view({ encodings: [encodings.raw] })
  const extended = await view({ encodings: [encodings.raw, ...features] })
  await start('xclip', ['-selection', 'clipboard', '-quiet'], 'copied inside')
  await viewer.until(() => viewer.texts.includes('copied inside'))
  await extended.until(() => extended.texts.includes('copied inside'))
  expect(barred.texts).toEqual([])
  await barred.until(() => barred.events.some(({ kind }) => kind === 'clipboard-blocked'))

  const refused = await view({ encodings: [encodings.raw], rights: { ...rights, clipboardIn: false } })
  refused.send(cutText('smuggled'))
  await refused.until(() => refused.events.some(({ kind }) => kind === 'clipboard-blocked'))
  viewer.send(cutText('brought in'))
  await viewer.until(() =>
    viewer.events.some((event) => event.kind === 'clipboard-passed' && event.direction === 'in'),
  )
  await expect.poll(onClipboard, { timeout: 20_000 }).toBe('brought in')
})

test('on the screen of a local VM text passes each way as the decision says, also when it changes meanwhile', async () => {
  const shown = new VmDisplay({ source: join(directory, 'xvnc.sock'), steadyMs, warn: () => undefined })
  closers.push(() => void shown[Symbol.asyncDispose]())
  const decided = (...permitted: DisplayTerms['rights']): void =>
    shown.apply({ rights: permitted, obligations: defaultObligations, fullName: 'Nora Lind' })
  const path = join(directory, 'shown.sock')
  decided('input', 'clipboard-out')
  await shown.listen(path)
  const person = personAt(connect(path))
  await person.ready
  await copyInside('first')
  await expect.poll(() => person.clipboard, { timeout: 20_000 }).toContain('first')
  person.copy('smuggled')
  const { idleMs } = shown
  person.type('x')
  await expect.poll(() => shown.idleMs).toBeLessThan(idleMs)
  expect(await settle(onClipboard)).toBe('first')
  decided('input', 'clipboard-in')
  await copyInside('second')
  await expect.poll(onClipboard, { timeout: 20_000 }).toBe('second')
  person.copy('brought in')
  await expect.poll(onClipboard, { timeout: 20_000 }).toBe('brought in')
  decided('input', 'clipboard-out')
  await copyInside('third')
  await expect.poll(() => person.clipboard, { timeout: 20_000 }).toContain('third')
  expect(person.clipboard).not.toContain('second')
})

async function copyInside(text: string): Promise<ChildProcess> {
  return start('xclip', ['-selection', 'clipboard', '-quiet'], text)
}

async function onClipboard(): Promise<string> {
  return output('xclip', '-selection', 'clipboard', '-o')
}

test('keys arrive only with the right to input, and none sticks', async () => {
  const log = join(directory, 'typed')
  await start('xterm', ['-e', 'sh', '-c', `stty raw -echo; echo ready > ${log}.ready; cat > ${log}`])
  await expect.poll(() => output('cat', `${log}.ready`), { timeout: 20_000 }).toBe('ready\n')
  const looking = await view({ encodings: [encodings.raw], rights: { ...rights, input: false } })
  const typing = await view({ encodings: [encodings.raw] })
  typing.send(pointer(width / 4, height / 4))
  for (const key of 'abc') {
    looking.send(concatBytes(keyEvent(true, 'x'), keyEvent(false, 'x')))
    typing.send(concatBytes(keyEvent(true, key), keyEvent(false, key)))
  }
  await expect.poll(() => output('cat', log), { timeout: 20_000 }).toBe('abc')
  expect(typing.events).toContainEqual({ kind: 'input' })
  expect(looking.events).not.toContainEqual({ kind: 'input' })
  typing.send(keyEvent(true, 'd'))
  await expect.poll(() => output('cat', log), { timeout: 20_000 }).toContain('abcd')
  typing.apply(typing.filter.setRights({ ...rights, input: false }))
  const settled = await settle(() => output('cat', log))
  expect(settled).toMatch(/^abcd+$/u)
})

test('frozen, no pixel passes; thawed, the picture is whole', async () => {
  await run('xsetroot', '-solid', '#204060')
  const viewer = await view({ encodings: [encodings.raw, ...features] })
  await viewer.until(() => viewer.colours().has('204060'))
  viewer.apply(viewer.filter.freeze())
  const before = viewer.received
  await run('xsetroot', '-solid', '#602040')
  await settle(async () => `${viewer.received}`)
  expect(viewer.received).toBe(before)
  viewer.apply(viewer.filter.thaw())
  await viewer.until(() => viewer.colours().has('602040') && viewer.colours().size === 1)
})

test('a viewer may change its pixel format while pictures are under way', async () => {
  await run('xsetroot', '-solid', '#ff0000')
  const viewer = await view({ encodings: [encodings.zrle, ...features], decode: false })
  await viewer.until(() => viewer.updates > 0)
  const bgr233 = [8, 8, 0, 1, 0, 7, 0, 7, 0, 3, 0, 3, 6, 0, 0, 0]
  const bgrx = [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0]
  for (let round = 0; round < 10; round++) {
    await run('xsetroot', '-solid', round % 2 === 0 ? '#00ff00' : '#0000ff')
    viewer.send(Uint8Array.of(0, 0, 0, 0, ...(round % 2 === 0 ? bgr233 : bgrx)))
    viewer.request(false)
  }
  const before = viewer.received
  await viewer.until(() => viewer.received > before)
  expect(viewer.failure).toBeUndefined()
})

for (const [name, list] of Object.entries({
  Tight: [encodings.copyRect, encodings.tight, -32, -256],
  'Tight with JPEG off': [encodings.copyRect, encodings.tight],
  ZRLE: [encodings.copyRect, encodings.zrle],
  Hextile: [encodings.hextile],
  RRE: [encodings.rre],
})) {
  test(`understands seconds of a moving picture in ${name}`, async () => {
    for (const mark of [undefined, watermark]) {
      const viewer = await view({
        encodings: [...list, ...features.filter((feature) => feature !== fence)],
        rights: { ...rights, watermark: mark },
        decode: false,
        keepAsking: true,
      })
      await start('xterm', ['-geometry', '70x25', '-e', 'sh', '-c', 'while :; do ls -lR /usr/share; done'])
      const colours = ['#123456', '#fedcba', '#00ff00']
      for (let round = 0; round < 10; round++) {
        await run('xsetroot', '-mod', `${round + 2}`, '5', '-fg', colours[round % 3]!)
        viewer.apply(viewer.filter.setRights({ ...rights, watermark: mark && [...mark, `${round}`] }))
      }
      await viewer.until(() => viewer.updates > 300)
      expect(viewer.failure).toBeUndefined()
    }
  })
}

interface ViewerOptions {
  readonly encodings: readonly number[]
  readonly rights?: RfbRights
  /** Decode the picture, or only take it, in which case fences are not answered: a server that offers them will wait. */
  readonly decode?: boolean
  /** Ask again after every piece that comes. */
  readonly keepAsking?: boolean
}

/** Connects a small viewer through a filter of its own, on two real sockets. */
async function view(options: ViewerOptions): Promise<Viewer> {
  const path = join(directory, `filter-${closers.length}.sock`)
  const filter = createRfbFilter({
    rights: options.rights ?? rights,
    inflate(data, maxBytes) {
      try {
        return inflateSync(data, {
          finishFlush: constants.Z_SYNC_FLUSH,
          maxOutputLength: Math.max(1, maxBytes),
        })
      } catch {
        return undefined
      }
    },
  })
  const upstream = connect(join(directory, 'xvnc.sock'))
  const server = createServer()
  server.listen(path)
  await once(server, 'listening')
  const socket = connect(path)
  const [[downstream]] = (await Promise.all([
    once(server, 'connection'),
    once(upstream, 'connect'),
    once(socket, 'connect'),
  ])) as [[Socket], unknown, unknown]
  const viewer = new Viewer(filter, socket, upstream, downstream, options)
  closers.push(() => closeAll(server, socket, upstream, downstream))
  await viewer.until(() => viewer.ready)
  return viewer
}

function closeAll(server: Server, ...sockets: Socket[]): void {
  for (const socket of sockets) socket.destroy()
  server.close()
}

/** Speaks just enough RFB: decodes Raw and Tight's fills into RGB, answers fences, takes texts. */
class Viewer {
  readonly filter: RfbFilter
  readonly pixels: Buffer = Buffer.alloc(width * height * 3)
  readonly texts: string[] = []
  readonly events: RfbEvent[] = []
  failure: unknown
  ready = false
  received = 0
  updates = 0
  readonly #socket: Socket
  readonly #upstream: Socket
  readonly #downstream: Socket
  readonly #options: ViewerOptions
  #buffer: Buffer = Buffer.alloc(0)

  constructor(
    filter: RfbFilter,
    socket: Socket,
    upstream: Socket,
    downstream: Socket,
    options: ViewerOptions,
  ) {
    this.filter = filter
    this.#socket = socket
    this.#upstream = upstream
    this.#downstream = downstream
    this.#options = options
    upstream.on('data', (bytes) => this.#guard(() => this.apply(filter.fromServer(bytes))))
    downstream.on('data', (bytes) => this.#guard(() => this.apply(filter.fromClient(bytes))))
    socket.on('data', (bytes) => this.#guard(() => this.#take(bytes)))
    for (const one of [upstream, downstream, socket]) one.on('error', (error) => (this.failure ??= error))
    this.send(concatBytes(encodeUtf8('RFB 003.008\n'), Uint8Array.of(1, 1)))
  }

  apply(output: RfbOutput): void {
    for (const bytes of output.toClient) this.#downstream.write(bytes)
    for (const bytes of output.toServer) this.#upstream.write(bytes)
    this.events.push(...output.events)
  }

  send(bytes: Uint8Array): void {
    this.#socket.write(bytes)
  }

  request(incremental: boolean): void {
    this.send(
      new Writer(10)
        .u8(3)
        .u8(incremental ? 1 : 0)
        .u16(0)
        .u16(0)
        .u16(width)
        .u16(height)
        .finish(),
    )
  }

  async until(condition: () => boolean): Promise<void> {
    const deadline = Date.now() + 30_000
    while (!condition()) {
      if (this.failure !== undefined) throw this.failure
      if (Date.now() > deadline)
        throw new Error(`never came true; colours ${[...this.colours().keys()].join(' ')}`)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  clear(): void {
    this.pixels.fill(0)
  }

  /** How often each colour is on the screen. */
  colours(): Map<string, number> {
    const counts = new Map<string, number>()
    for (let at = 0; at < this.pixels.length; at += 3) {
      const colour = this.pixels.toString('hex', at, at + 3)
      counts.set(colour, (counts.get(colour) ?? 0) + 1)
    }
    return counts
  }

  /** The light strokes of the watermark: how many dots, in how many separate bands of lines. */
  marks(): { areas: number; light: number } {
    const rows = Array.from({ length: height }, (_, y) => {
      const row = this.pixels.subarray(y * width * 3, (y + 1) * width * 3)
      let light = 0
      for (let at = 0; at < row.length; at += 3) if (row.readUIntBE(at, 3) === 0xc8c8c8) light++
      return light
    })
    let areas = 0
    let empty = 20
    for (const light of rows) {
      if (light > 0 && empty >= 20) areas++
      empty = light > 0 ? 0 : empty + 1
    }
    return { areas, light: rows.reduce((sum, light) => sum + light, 0) }
  }

  #guard(action: () => void): void {
    if (this.failure !== undefined) return
    try {
      action()
    } catch (error) {
      this.failure = error
    }
  }

  #take(bytes: Buffer): void {
    this.received += bytes.length
    if (this.ready && this.#options.decode === false) {
      this.updates++
      if (this.#options.keepAsking) this.request(true)
      return
    }
    this.#buffer = Buffer.concat([this.#buffer, bytes])
    for (;;) {
      const reader = new PieceReader(this.#buffer)
      try {
        if (this.ready) this.#message(reader)
        else this.#handshake(reader)
      } catch (error) {
        if (error === shortage) return
        throw error
      }
      this.#buffer = this.#buffer.subarray(reader.at)
      if (this.#options.decode === false) return
    }
  }

  #handshake(reader: PieceReader): void {
    reader.take(12)
    expect([...reader.take(2)]).toEqual([1, 1])
    expect(reader.take(4).readUInt32BE()).toBe(0)
    const init = reader.take(24)
    reader.take(init.readUInt32BE(20))
    this.ready = true
    // 32 bits, little-endian, red highest: bytes come as blue, green, red.
    this.send(Uint8Array.of(0, 0, 0, 0, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0))
    const list = new Writer(1000).u8(2).u8(0).u16(this.#options.encodings.length)
    for (const number of this.#options.encodings) list.i32(number)
    this.send(list.finish())
    this.request(false)
  }

  #message(reader: PieceReader): void {
    const type = reader.take(1)[0]
    switch (type) {
      case 0:
        this.#update(reader)
        this.updates++
        this.request(true)
        return
      case 2:
      case 150:
        return
      case 3:
        return this.#text(reader)
      case 248: {
        const head = reader.take(8)
        const payload = reader.take(head[7]!)
        return this.send(
          new Writer(80)
            .u8(248)
            .u8(0)
            .u16(0)
            .u32(head.readUInt32BE(3) & 3)
            .u8(head[7]!)
            .bytes(payload)
            .finish(),
        )
      }
      default:
        throw new Error(`message ${type}`)
    }
  }

  #text(reader: PieceReader): void {
    const length = reader.take(7).readInt32BE(3)
    if (length >= 0) {
      this.texts.push(reader.take(length).toString('latin1'))
      return
    }
    const body = reader.take(-length)
    const action = body[0]!
    if (action & 1) this.send(extendedCutText(0x1f, Uint8Array.of(0, 1, 0, 0)))
    else if (action === 8) this.send(extendedCutText(2))
    else if (action === 16) {
      const plain = inflateSync(body.subarray(4), { finishFlush: constants.Z_SYNC_FLUSH })
      this.texts.push(decodeUtf8(plain.subarray(4, 4 + plain.readUInt32BE())).replace('\0', ''))
    }
  }

  #update(reader: PieceReader): void {
    const count = reader.take(3).readUInt16BE(1)
    for (let left = count === 0xffff ? Number.POSITIVE_INFINITY : count; left > 0; left--) {
      const head = reader.take(12)
      const [x, y, w, h] = [0, 2, 4, 6].map((at) => head.readUInt16BE(at)) as [number, number, number, number]
      const encoding = head.readInt32BE(8)
      if (encoding === -224) return
      if (encoding === 0)
        this.#blit(x, y, w, h, reader.take(w * h * 4), (data, at) => [
          data[4 * at + 2]!,
          data[4 * at + 1]!,
          data[4 * at]!,
        ])
      else if (encoding === 7) this.#tight(reader, x, y, w, h)
      else if (encoding === -239) reader.take(w * h * 4 + Math.ceil(w / 8) * h)
      else if (encoding === -308) reader.take(reader.take(4)[0]! * 16)
      else if (encoding === -307) reader.take(reader.take(4).readUInt32BE())
      else if (encoding === -261) reader.take(1)
      else if (encoding !== -258 && encoding !== -223) throw new Error(`encoding ${encoding}`)
    }
  }

  /** A root window of one colour comes as fills; everything else is an error here. */
  #tight(reader: PieceReader, x: number, y: number, w: number, h: number): void {
    const control = reader.take(1)[0]!
    if (control >> 4 !== 8) throw new Error(`Tight control ${control}`)
    const colour = reader.take(3)
    this.#blit(x, y, w, h, colour, () => [colour[0]!, colour[1]!, colour[2]!])
  }

  #blit(
    x: number,
    y: number,
    w: number,
    h: number,
    data: Buffer,
    pixel: (data: Buffer, at: number) => number[],
  ): void {
    for (let at = 0; at < w * h; at++) {
      this.pixels.set(pixel(data, at), ((y + Math.floor(at / w)) * width + x + (at % w)) * 3)
    }
  }
}

const shortage = new Error('more bytes are needed')

class PieceReader {
  readonly #bytes: Buffer
  at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  take(length: number): Buffer {
    if (this.at + length > this.#bytes.length) throw shortage
    this.at += length
    return this.#bytes.subarray(this.at - length, this.at)
  }
}

function keyEvent(down: boolean, character: string): Uint8Array {
  return new Writer(8)
    .u8(4)
    .u8(down ? 1 : 0)
    .u16(0)
    .u32(character.charCodeAt(0))
    .finish()
}

function pointer(x: number, y: number): Uint8Array {
  return new Writer(6).u8(5).u8(0).u16(x).u16(y).finish()
}

function cutText(text: string): Uint8Array {
  return new Writer(8 + text.length).u8(6).u8(0).u16(0).u32(text.length).utf8(text).finish()
}

function extendedCutText(actions: number, data: Uint8Array = new Uint8Array(0)): Uint8Array {
  return new Writer(80)
    .u8(6)
    .u8(0)
    .u16(0)
    .i32(-(4 + data.length))
    .u8(actions)
    .u16(0)
    .u8(1)
    .bytes(data)
    .finish()
}

/** Starts Xvnc and returns its display; it chooses a free one itself. */
async function startXvnc(): Promise<string> {
  const socket = [
    '-rfbunixpath',
    join(directory, 'xvnc.sock'),
    '-rfbunixmode',
    '0600',
    '-rfbport',
    '-1',
    '-nolisten',
    'tcp',
  ]
  const access = ['-SecurityTypes', 'None', '-UseBlacklist=0']
  const screen = ['-geometry', `${width}x${height}`, '-depth', '24']
  const child = spawn('Xvnc', ['-displayfd', '3', ...socket, ...access, ...screen], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
  })
  children.push(child)
  const [number] = (await once(child.stdio[3]!, 'data')) as [Buffer]
  return `:${number.toString().trim()}`
}

async function start(command: string, args: readonly string[], input?: string): Promise<ChildProcess> {
  const child = spawn(command, args, {
    env: { ...process.env, DISPLAY: display },
    stdio: [input === undefined ? 'ignore' : 'pipe', 'ignore', 'ignore'],
  })
  child.stdin?.end(input)
  children.push(child)
  await once(child, 'spawn')
  return child
}

async function run(command: string, ...args: string[]): Promise<void> {
  const child = spawn(command, args, { env: { ...process.env, DISPLAY: display }, stdio: 'ignore' })
  const [status] = (await once(child, 'exit')) as [number]
  expect(status).toBe(0)
}

async function output(command: string, ...args: string[]): Promise<string> {
  const child = spawn(command, args, {
    env: { ...process.env, DISPLAY: display },
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const pieces: Buffer[] = []
  child.stdout.on('data', (piece: Buffer) => pieces.push(piece))
  await once(child, 'close')
  return Buffer.concat(pieces).toString()
}

/** Waits until a value stays the same for a second. */
async function settle(read: () => Promise<string>): Promise<string> {
  let last = await read()
  for (let same = 0; same < 5; same++) {
    await new Promise((resolve) => setTimeout(resolve, 200))
    const now = await read()
    if (now !== last) same = 0
    last = now
  }
  return last
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGKILL')
  await once(child, 'exit')
}
