import { parentPort, workerData } from 'node:worker_threads'
// Each thread loads what it imports anew: no more than it needs.
import { sealChunk, storedDigest } from '#core/artifact/chunk.ts'
import { sealingKeysOf } from '#core/artifact/image-key.ts'
import { giveBack } from '#core/bytes/give-back.ts'

/** One thread of `ChunkWorkers`: chunks come in, what is stored for them goes out, both given away and not copied. */

const keys = sealingKeysOf(workerData as Uint8Array)

parentPort?.on('message', ({ id, chunk }: { readonly id: number; readonly chunk: Uint8Array }) => {
  const stored = sealChunk(keys, chunk)
  giveBack(chunk)
  const digest = new Uint8Array(storedDigest(stored))
  parentPort?.postMessage({ id, stored, digest }, [stored.buffer as ArrayBuffer, digest.buffer])
})
