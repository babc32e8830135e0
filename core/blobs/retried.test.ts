import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import type { BlobReader } from './blob-store.ts'
import { BlobError, type BlobErrorCode } from './errors.ts'
import { digestOf } from './reference.ts'
import { defaultRetries, type RetryOptions, retried } from './retried.ts'

const digest = digestOf(Buffer.from('x'))

/** Fails with these codes in turn, then answers. */
function flaky(...codes: readonly BlobErrorCode[]) {
  const left = [...codes]
  const state = { asked: 0, isDisposed: false }
  const ask = async <T>(answer: T): Promise<T> => {
    state.asked++
    const code = left.shift()
    if (code !== undefined) throw new BlobError(code, 'as told')
    return answer
  }
  const reader: BlobReader = {
    name: 'flaky',
    read: (_digest, _offset, length) => ask(new Uint8Array(length)),
    manifest: () => ask(undefined),
    references: () => ask([]),
    async [Symbol.asyncDispose]() {
      state.isDisposed = true
    },
  }
  return { reader, state }
}

function patient(options: Partial<RetryOptions> = {}) {
  const pauses: number[] = []
  const sleep = async (milliseconds: number) => void pauses.push(milliseconds)
  return { pauses, options: { ...defaultRetries, sleep, random: () => 0, ...options } }
}

test('a store that is unavailable is asked again until it answers', async () => {
  const { reader, state } = flaky('BLOB_UNAVAILABLE', 'BLOB_UNAVAILABLE')
  const { options, pauses } = patient()
  expect(await retried(reader, options).read(digest, 0, 3)).toHaveLength(3)
  expect(state.asked).toBe(3)
  expect(pauses).toEqual([50, 100])
})

test('manifests and lists are asked for again, too', async () => {
  const { reader, state } = flaky('BLOB_UNAVAILABLE', 'BLOB_UNAVAILABLE')
  const wrapped = retried(reader, patient().options)
  expect(await wrapped.manifest({ name: 'a', version: '1' })).toBeUndefined()
  expect(await wrapped.references()).toEqual([])
  expect(state.asked).toBe(4)
})

test.each(['BLOB_MISSING', 'BLOB_WRONG_ANSWER', 'BLOB_DENIED', 'BLOB_BAD_STORE'] as const)(
  '%s is no reason to ask again',
  async (code) => {
    const { reader, state } = flaky(code)
    await expect(retried(reader, patient().options).read(digest, 0, 1)).rejects.toMatchObject({ code })
    expect(state.asked).toBe(1)
  },
)

test('it gives up after as many attempts as were allowed, with the last error', async () => {
  const { reader, state } = flaky(...Array.from({ length: 9 }, () => 'BLOB_UNAVAILABLE' as const))
  const { options, pauses } = patient({ attempts: 5 })
  await expect(retried(reader, options).read(digest, 0, 1)).rejects.toMatchObject({
    code: 'BLOB_UNAVAILABLE',
  })
  expect(state.asked).toBe(5)
  expect(pauses).toHaveLength(4)
})

test('an abort ends the pause with the reason of the signal', async () => {
  const { reader } = flaky('BLOB_UNAVAILABLE')
  const abort = new AbortController()
  const reason = new Error('enough')
  const { options } = patient({
    sleep: async () => {
      abort.abort(reason)
      throw new Error('woken')
    },
  })
  await expect(retried(reader, options).read(digest, 0, 1, abort.signal)).rejects.toBe(reason)
})

test('it owns what it wraps', async () => {
  const { reader, state } = flaky()
  await retried(reader, patient().options)[Symbol.asyncDispose]()
  expect(state.isDisposed).toBe(true)
})

test('pauses grow, stay below the longest, and add up to more than a minute', async () => {
  await fc.assert(
    fc.asyncProperty(fc.double({ min: 0, max: 0.999, noNaN: true }), async (random) => {
      const { reader } = flaky(...Array.from({ length: 99 }, () => 'BLOB_UNAVAILABLE' as const))
      const { options, pauses } = patient({ random: () => random })
      await retried(reader, options)
        .read(digest, 0, 1)
        .catch(() => undefined)
      for (const [index, pause] of pauses.entries()) {
        expect(pause).toBeGreaterThanOrEqual(pauses[index - 1] ?? 0)
        expect(pause).toBeLessThanOrEqual(options.pausesMs.longest)
      }
      expect(pauses.reduce((sum, pause) => sum + pause)).toBeGreaterThan(60_000)
    }),
  )
})
