import { createHmac, timingSafeEqual } from 'node:crypto'

/**
 * Bytes kept on this machine under a name, as they came from a store: encrypted, and to be verified by whoever gets
 * them. What is kept may vanish or change at any time; nothing but time is lost.
 */
export interface StoredCache {
  /** @returns bytes in memory that is the caller's alone; undefined when they are not there, or cannot be read */
  get(name: string): Promise<Uint8Array | undefined>
  /** Whether bytes are there, as far as is known without looking at them. */
  has(name: string): Promise<boolean>
  /** Keeps bytes when there is room and time. Takes them before it returns; never fails. @returns whether it took them */
  put(name: string, bytes: Uint8Array): boolean
  /** Forgets what was found damaged. */
  drop(name: string): void
}

/** Keeps nothing. */
export const noCache: StoredCache = {
  get: async () => undefined,
  has: async () => false,
  put: () => false,
  drop: () => {},
}

const codeBytes = 32

/** Puts a code over name and bytes (HMAC-SHA-256) before what is kept, so that nobody without the key alters it unnoticed. */
export function authenticatedCache(cache: StoredCache, key: Uint8Array): StoredCache {
  const codeOf = (name: string, bytes: Uint8Array): Buffer =>
    createHmac('sha256', key).update(`${name}\0`).update(bytes).digest()
  return {
    get: async (name) => {
      const kept = await cache.get(name)
      if (kept === undefined) return undefined
      const bytes = kept.subarray(codeBytes)
      if (kept.length >= codeBytes && timingSafeEqual(codeOf(name, bytes), kept.subarray(0, codeBytes)))
        return bytes
      cache.drop(name)
      return undefined
    },
    has: (name) => cache.has(name),
    put: (name, bytes) => cache.put(name, Buffer.concat([codeOf(name, bytes), bytes])),
    drop: (name) => cache.drop(name),
  }
}

/** What is kept, to be looked at and left as it is. */
export function readOnlyCache(cache: StoredCache): StoredCache {
  return { ...noCache, get: (name) => cache.get(name), has: (name) => cache.has(name) }
}
