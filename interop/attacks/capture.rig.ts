import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { until } from '../running-site.rig.ts'

/** What one side of a TCP connection said. */
export interface Stream {
  readonly from: number
  readonly to: number
  readonly bytes: Buffer
}

/** Writes down everything that passes through loopback to and from some ports. */
export class Capture implements AsyncDisposable {
  readonly #folder: string
  readonly #child: ChildProcess

  private constructor(folder: string, child: ChildProcess) {
    this.#folder = folder
    this.#child = child
  }

  static async start(ports: readonly number[]): Promise<Capture> {
    const folder = await mkdtemp(join(tmpdir(), 'tc-capture-'))
    // As root, since the folder is nobody else's; with room, since what is dropped could have held a secret.
    const how = ['-i', 'lo', '-Z', 'root', '-B', '65536', '-s', '0', '-U', '-w', join(folder, 'lo.pcap')]
    const child = spawn('tcpdump', [...how, ports.map((port) => `tcp port ${port}`).join(' or ')], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let said = ''
    await new Promise<void>((resolve, reject) => {
      child.once('error', reject)
      child.once('exit', () => reject(new Error(`tcpdump ended: ${said}`)))
      child.stderr?.on('data', (data) => {
        said += String(data)
        if (said.includes('listening on')) resolve()
      })
    })
    return new Capture(folder, child)
  }

  /** Waits for text: what was sent before it has been written down then. */
  async has(text: string): Promise<void> {
    await until(async () => (await this.#file()).includes(text), `${text} was captured`)
  }

  /** Ends the capture. @returns the file, and the connections in it */
  async finish(): Promise<{ readonly raw: Buffer; readonly streams: readonly Stream[] }> {
    await this.#stop()
    const raw = await this.#file()
    return { raw, streams: streamsOf(raw) }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stop()
    await rm(this.#folder, { recursive: true, force: true })
  }

  #file(): Promise<Buffer> {
    return readFile(join(this.#folder, 'lo.pcap'))
  }

  async #stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const gone = new Promise((resolve) => this.#child.once('exit', resolve))
    this.#child.kill('SIGINT')
    await gone
  }
}

interface Segment {
  readonly from: number
  readonly to: number
  readonly sequence: number
  readonly starts: boolean
  readonly bytes: Buffer
}

/** Only connections whose beginning was seen. A port pair may occur again: each SYN begins another one. */
function streamsOf(pcap: Buffer): readonly Stream[] {
  const open = new Map<string, { from: number; to: number; first: number; parts: Map<number, Buffer> }>()
  const all: { from: number; to: number; parts: Map<number, Buffer> }[] = []
  for (const { from, to, sequence, starts, bytes } of segmentsOf(pcap)) {
    const name = `${from} ${to}`
    if (starts) {
      const stream = { from, to, first: sequence + 1, parts: new Map<number, Buffer>() }
      open.set(name, stream)
      all.push(stream)
    }
    const stream = open.get(name)
    if (stream !== undefined && bytes.length > 0) stream.parts.set((sequence - stream.first) >>> 0, bytes)
  }
  return all.map(({ from, to, parts }) => ({ from, to, bytes: joined(parts) }))
}

/** Repeated segments may overlap. */
function joined(parts: ReadonlyMap<number, Buffer>): Buffer {
  const pieces: Buffer[] = []
  let length = 0
  for (const [at, bytes] of [...parts].toSorted(([a], [b]) => a - b)) {
    if (at > length) throw new Error(`tcpdump has lost ${at - length} bytes`)
    if (at + bytes.length <= length) continue
    pieces.push(bytes.subarray(length - at))
    length = at + bytes.length
  }
  return Buffer.concat(pieces)
}

/** pcap with Ethernet frames, as tcpdump writes it for loopback; IPv4 (RFC 791), IPv6 (RFC 8200), TCP (RFC 9293). */
function* segmentsOf(pcap: Buffer): Generator<Segment> {
  if (pcap.readUInt32LE(0) !== 0xa1b2c3d4 || pcap.readUInt32LE(20) !== 1)
    throw new Error('expected a little-endian pcap of Ethernet frames')
  for (let at = 24; at + 16 <= pcap.length; ) {
    const length = pcap.readUInt32LE(at + 8)
    const frame = pcap.subarray(at + 16, at + 16 + length)
    at += 16 + length
    const packet = frame.subarray(14)
    const isIpv6 = frame.readUInt16BE(12) === 0x86dd
    const tcp = isIpv6
      ? packet.subarray(40, 40 + packet.readUInt16BE(4))
      : packet.subarray((packet.readUInt8(0) & 15) * 4, packet.readUInt16BE(2))
    yield {
      from: tcp.readUInt16BE(0),
      to: tcp.readUInt16BE(2),
      sequence: tcp.readUInt32BE(4),
      starts: (tcp.readUInt8(13) & 2) !== 0,
      bytes: tcp.subarray((tcp.readUInt8(12) >> 4) * 4),
    }
  }
}
