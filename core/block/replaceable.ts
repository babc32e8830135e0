import { type BlockDevice, BlockError, type Extent } from './block-device.ts'

/**
 * A disk whose content comes from one device after another of the same bytes: while there is none, every call fails.
 * For whoever must not notice that a key was withdrawn and given again, such as a virtual machine that is paused.
 *
 * Lifetime: the devices belong to whoever gives them.
 */
export class ReplaceableDevice implements BlockDevice {
  readonly sizeBytes: bigint
  readonly blockSize: number
  #device: BlockDevice | undefined
  #reason: Error = new BlockError('BLOCK_CLOSED', 'there is no disk yet')

  constructor({ sizeBytes, blockSize }: Pick<BlockDevice, 'sizeBytes' | 'blockSize'>) {
    this.sizeBytes = sizeBytes
    this.blockSize = blockSize
  }

  /** @param device of the same size, that can be written */
  use(device: BlockDevice): void {
    if (device.sizeBytes !== this.sizeBytes) throw new RangeError(`expected ${this.sizeBytes} bytes`)
    this.#device = device
  }

  /** From now on every call fails with the reason; what is under way ends as its device ends it. */
  withdraw(reason: Error): void {
    this.#device = undefined
    this.#reason = reason
  }

  async read(offset: bigint, length: number, signal?: AbortSignal): Promise<Uint8Array> {
    return this.#current().read(offset, length, signal)
  }

  readNow(offset: number, length: number): Uint8Array | undefined {
    return this.#device?.readNow?.(offset, length)
  }

  /** Whoever is done with bytes of a device before this one only lets the collector find them. */
  done(bytes: Uint8Array): void {
    this.#device?.done?.(bytes)
  }

  async extents(offset: bigint, length: number, signal?: AbortSignal): Promise<readonly Extent[]> {
    return this.#current().extents(offset, length, signal)
  }

  async write(offset: bigint, bytes: Uint8Array, signal?: AbortSignal): Promise<void> {
    await this.#current().write?.(offset, bytes, signal)
  }

  async flush(signal?: AbortSignal): Promise<void> {
    await this.#current().flush?.(signal)
  }

  async trim(offset: bigint, length: number, signal?: AbortSignal): Promise<void> {
    await this.#current().trim?.(offset, length, signal)
  }

  async writeZeroes(offset: bigint, length: number, signal?: AbortSignal): Promise<void> {
    await this.#current().writeZeroes?.(offset, length, signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.withdraw(new BlockError('BLOCK_CLOSED', 'the disk is closed'))
  }

  #current(): BlockDevice {
    if (this.#device === undefined) throw this.#reason
    return this.#device
  }
}
