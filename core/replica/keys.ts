import { hash, hkdfSync } from 'node:crypto'
import { ReplicaError } from './errors.ts'

/** Which overlay a replica is of. */
export interface ReplicaOf {
  /** UUID. */
  readonly personId: string
  /** The workspace whose VM writes it; empty for disks, which a person's workspaces share. */
  readonly scope: string
  /** What the overlay lies over: `name:version merkleRoot`. */
  readonly base: string
}

const idBytes = 16

/**
 * The keys of one replica, from the key that seals its overlay. They are for this person and this image alone, so that
 * no piece and no manifest passes for one of another replica, although a family of images has one key.
 */
export class ReplicaKeys {
  /** 16 bytes that say nothing. */
  readonly id: Uint8Array
  readonly #piece: Uint8Array
  readonly #name: Uint8Array
  readonly #manifest: Uint8Array
  #isWiped = false

  /**
   * Source: RFC 5869, with the replica's id as salt
   *
   * @param overlayKey 32 bytes, see `overlayKeyOf`; copied
   */
  constructor(overlayKey: Uint8Array, { personId, scope, base }: ReplicaOf) {
    const text = JSON.stringify(['trustcast replica', personId, scope, base])
    this.id = new Uint8Array(hash('sha256', text, 'buffer').subarray(0, idBytes))
    const derive = (use: string): Uint8Array =>
      new Uint8Array(hkdfSync('sha256', overlayKey, this.id, `trustcast replica ${use}`, 32))
    this.#piece = derive('piece')
    this.#name = derive('name')
    this.#manifest = derive('manifest')
  }

  /** AES-256. @throws {ReplicaError} REPLICA_KEY_GONE, as the others */
  get piece(): Uint8Array {
    return this.#standing(this.#piece)
  }

  /** HMAC-SHA-256, of names of pieces. */
  get name(): Uint8Array {
    return this.#standing(this.#name)
  }

  /** HMAC-SHA-256. */
  get manifest(): Uint8Array {
    return this.#standing(this.#manifest)
  }

  /** INVARIANT: nothing is sealed under zeros. */
  wipe(): void {
    this.#isWiped = true
    for (const key of [this.#piece, this.#name, this.#manifest]) key.fill(0)
  }

  #standing(key: Uint8Array): Uint8Array {
    if (!this.#isWiped) return key
    throw new ReplicaError('REPLICA_KEY_GONE', 'the key of the replica was taken back')
  }
}
