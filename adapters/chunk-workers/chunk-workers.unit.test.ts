import { expect, test } from 'vitest'
import { chunkKeysOf, openChunk } from '#core/artifact/index.ts'
import { ChunkWorkers } from './index.ts'

const key = new Uint8Array(32).fill(7)
const chunk = new Uint8Array(65_536).fill(1)

test('threads seal chunks', async () => {
  await using workers = new ChunkWorkers(key, 2)
  const sealed = await Promise.all([1, 2, 3, 4, 5].map((value) => workers.seal(chunk.map(() => value))))
  for (const [at, { stored }] of sealed.entries()) {
    const opened = await openChunk(chunkKeysOf(key), stored, chunk.length)
    expect(
      Buffer.compare(
        opened,
        chunk.map(() => at + 1),
      ),
    ).toBe(0)
  }
})

test('after a thread has died of an error, sealing fails with it', async () => {
  // With such a key a thread fails as it starts.
  await using workers = new ChunkWorkers(key.subarray(0, 5), 2)
  const first = await Promise.allSettled([workers.seal(chunk), workers.seal(chunk)])
  expect(first.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  await expect(workers.seal(chunk)).rejects.toThrow('expected a key of 32 bytes, got 5')
})

test('after the threads were ended, sealing fails', async () => {
  const workers = new ChunkWorkers(key, 2)
  const under = Promise.allSettled([workers.seal(chunk), workers.seal(chunk), workers.seal(chunk)])
  await workers[Symbol.asyncDispose]()
  await under
  await expect(workers.seal(chunk)).rejects.toThrow('a thread that makes chunks has ended')
})
