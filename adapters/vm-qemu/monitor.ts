import { EventEmitter } from 'node:events'
import type { Duplex } from 'node:stream'
import { z } from 'zod'
import {
  decodeMonitorMessage,
  encodeMonitorCommand,
  type MonitorMessage,
  maximumLineBytes,
  VmError,
} from '#core/vm/index.ts'

/**
 * For an answer. QEMU stands still, its monitor too, while it waits for what its disk has under way: with stores away that may be minutes, and
 * then it answers after all.
 */
const patienceMs = 30_000

/** `paused`: by whoever asked; `io-error`: by itself, since the disk failed. */
export type VmStatus = 'running' | 'paused' | 'io-error' | 'shutdown' | 'other'

interface Waiting {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: Error) => void
  readonly timer: NodeJS.Timeout
}

/**
 * QEMU's monitor, by QMP on a connection of its own.
 *
 * Events that it emits: `event` with the name and data of each of QEMU's, and `gone` once.
 */
export class Monitor extends EventEmitter<{ event: [string, Readonly<Record<string, unknown>>]; gone: [] }> {
  readonly #stream: Duplex
  readonly #waiting = new Map<number, Waiting>()
  #text = ''
  #next = 1
  #gone: VmError | undefined

  private constructor(stream: Duplex) {
    super()
    this.#stream = stream
    stream.setEncoding('utf8')
    stream.on('data', (text: string) => this.#read(text))
    stream.on('error', (cause) => this.#lose('the connection to its monitor broke', cause))
    stream.on('close', () => this.#lose('its monitor has hung up'))
  }

  /** As every call here. @throws {VmError} VM_GONE, VM_REFUSED, VM_SILENT */
  static async open(stream: Duplex): Promise<Monitor> {
    const monitor = new Monitor(stream)
    await monitor.#execute('qmp_capabilities')
    return monitor
  }

  async status(): Promise<VmStatus> {
    const { status } = z.looseObject({ status: z.string() }).parse(await this.#execute('query-status'))
    return z
      .enum(['running', 'paused', 'io-error', 'shutdown'])
      .catch('other' as never)
      .parse(status)
  }

  /** Halts the guest. What it had begun to write is written, or has failed, when this resolves. */
  async pause(): Promise<void> {
    await this.#execute('stop')
  }

  async continue(): Promise<void> {
    await this.#execute('cont')
  }

  /** Asks the guest to shut down, as its power button does. */
  async pressPower(): Promise<void> {
    await this.#execute('system_powerdown')
  }

  /** As a machine's reset button: what is in its memory is gone. */
  async reset(): Promise<void> {
    await this.#execute('system_reset')
  }

  /** Ends QEMU. */
  async quit(): Promise<void> {
    await this.#execute('quit')
  }

  async #execute(command: string): Promise<unknown> {
    if (this.#gone) throw this.#gone
    const id = this.#next++
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    const timer = setTimeout(() => {
      this.#waiting.delete(id)
      reject(new VmError('VM_SILENT', `the VM does not answer ${command}: it waits for its disk`))
    }, patienceMs)
    this.#waiting.set(id, { resolve, reject, timer })
    this.#stream.write(encodeMonitorCommand(id, command))
    return promise
  }

  #read(text: string): void {
    this.#text += text
    try {
      for (let end = this.#text.indexOf('\n'); end >= 0; end = this.#text.indexOf('\n')) {
        const line = this.#text.slice(0, end).trim()
        this.#text = this.#text.slice(end + 1)
        if (line !== '') this.#take(decodeMonitorMessage(line))
      }
      if (this.#text.length > maximumLineBytes)
        throw new VmError('VM_BAD_MONITOR', `expected lines of at most ${maximumLineBytes} bytes`)
    } catch (cause) {
      this.#lose('its monitor speaks no QMP', cause)
      this.#stream.destroy()
    }
  }

  #take(message: MonitorMessage): void {
    if (message.kind === 'greeting') return
    if (message.kind === 'event') {
      this.emit('event', message.name, message.data)
      return
    }
    const waiting = message.id === undefined ? undefined : this.#waiting.get(message.id)
    if (message.id === undefined || waiting === undefined) return
    this.#waiting.delete(message.id)
    clearTimeout(waiting.timer)
    if (message.kind === 'return') waiting.resolve(message.value)
    else waiting.reject(new VmError('VM_REFUSED', `the VM refused: ${message.text}`))
  }

  #lose(why: string, cause?: unknown): void {
    if (this.#gone) return
    this.#gone = new VmError('VM_GONE', `the VM is gone: ${why}`, { cause })
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer)
      reject(this.#gone)
    }
    this.#waiting.clear()
    this.emit('gone')
  }
}
