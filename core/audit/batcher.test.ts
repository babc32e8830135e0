import { expect, test } from 'vitest'
import { createAppender } from './batcher.ts'

const one = (n: number): Uint8Array => Uint8Array.of(n)

/** A store whose commits end when the test says so. */
function slowStore(): {
  readonly batches: number[][]
  readonly commit: (batch: readonly Uint8Array[]) => Promise<readonly bigint[]>
  readonly finish: (error?: Error) => Promise<void>
} {
  const batches: number[][] = []
  let size = 0
  let end: ((error?: Error) => void) | undefined
  return {
    batches,
    commit: (batch) => {
      batches.push(batch.map(([n]) => n!))
      return new Promise((resolve, reject) => {
        end = (error) => {
          if (error) reject(error)
          else resolve(batch.map(() => BigInt(size++)))
        }
      })
    },
    finish: async (error) => {
      end?.(error)
      await new Promise((done) => setImmediate(done))
    },
  }
}

const turn = async (): Promise<void> => new Promise((done) => setImmediate(done))

test('what arrives during a commit makes up the next batch', async () => {
  const store = slowStore()
  const { append } = createAppender({ commit: store.commit, maxBatch: 3 })
  const first = [append(one(1)), append(one(2))]
  await turn()
  const next = [3, 4, 5, 6].map((n) => append(one(n)))
  await turn()
  expect(store.batches).toEqual([[1, 2]])
  await store.finish()
  expect(await Promise.all(first)).toEqual([0n, 1n])
  await store.finish()
  await store.finish()
  expect(store.batches).toEqual([[1, 2], [3, 4, 5], [6]])
  expect(await Promise.all(next)).toEqual([2n, 3n, 4n, 5n])
})

test('nothing resolves before its batch is durable', async () => {
  const store = slowStore()
  const { append } = createAppender({ commit: store.commit, maxBatch: 10 })
  let isDone = false
  const appended = (async (): Promise<void> => {
    await append(one(1))
    isDone = true
  })()
  await turn()
  expect(isDone).toBe(false)
  await store.finish()
  await appended
  expect(isDone).toBe(true)
})

test('an error reaches every entry of the failed batch and no other', async () => {
  const store = slowStore()
  const { append } = createAppender({ commit: store.commit, maxBatch: 10 })
  const failed = Promise.allSettled([append(one(1)), append(one(2))])
  await turn()
  const next = append(one(3))
  const broken = new Error('disk full')
  await store.finish(broken)
  expect(await failed).toEqual([1, 2].map(() => ({ status: 'rejected', reason: broken })))
  await store.finish()
  expect(await next).toBe(0n)
  const later = append(one(4))
  await turn()
  await store.finish()
  expect(await later).toBe(1n)
})

test('a store that loses count is an error', async () => {
  const { append } = createAppender({ commit: async () => [0n], maxBatch: 10 })
  const results = await Promise.allSettled([append(one(1)), append(one(2))])
  expect(results).toMatchObject([1, 2].map(() => ({ reason: { code: 'AUDIT_BAD_COMMIT' } })))
})
