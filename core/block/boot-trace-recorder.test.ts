import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  decodeTrace,
  encodeTrace,
  fitTrace,
  maximumRangeBytes,
  maximumTraceMs,
  maximumTraceRanges,
} from './boot-trace.ts'
import { TraceRecorder, traced } from './boot-trace-recorder.ts'
import { memoryDevice } from './memory-device.fixture.ts'

const chunk = 262_144

test('each chunk is noted once, when it is first read, with the time', async () => {
  let clock = 1000
  const memory = new Uint8Array(5 * chunk + 100)
  const recorder = new TraceRecorder({ sizeBytes: BigInt(memory.length), now: () => clock })
  await using device = traced(memoryDevice(memory), recorder)
  await device.read(BigInt(3 * chunk + 5), 4096)
  clock += 12.7
  await device.read(BigInt(3 * chunk), 100)
  // Around the third, to the short last one.
  await device.read(BigInt(2 * chunk - 1), 3 * chunk + 2)
  clock += 8
  await device.read(0n, memory.length)
  expect(recorder.trace().ranges).toEqual([
    { offset: 3 * chunk, length: chunk, atMs: 0 },
    { offset: chunk, length: 2 * chunk, atMs: 12 },
    { offset: 4 * chunk, length: chunk + 100, atMs: 12 },
    { offset: 0, length: chunk, atMs: 20 },
  ])
})

test('whatever is read, the trace is one, covers it and fits the disk', () => {
  const read = fc.record({
    at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    length: fc.integer({ min: 1, max: 40 * 1024 * 1024 }),
    wait: fc.nat({ max: 1000 }),
  })
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 2 ** 41 }),
      fc.array(read, { maxLength: 200 }),
      (sizeBytes, reads) => {
        let clock = 0
        const recorder = new TraceRecorder({
          sizeBytes: BigInt(sizeBytes),
          now: () => clock,
          chunkBytes: 4_194_304,
        })
        const touched = new Set<number>()
        for (const { at, length, wait } of reads) {
          clock += wait
          const offset = Math.floor(at * sizeBytes)
          const end = Math.min(sizeBytes, offset + length)
          recorder.read(offset, end - offset)
          for (let number = Math.floor(offset / 4_194_304); number * 4_194_304 < end; number++)
            touched.add(number)
        }
        const trace = fitTrace(decodeTrace(encodeTrace(recorder.trace())), sizeBytes)
        expect(trace).toEqual(recorder.trace())
        const noted = trace.ranges.reduce((sum, { length }) => sum + Math.ceil(length / 4_194_304), 0)
        expect(noted).toBe(touched.size)
      },
    ),
  )
})

test('reads that are longer than a range may be are noted as several', () => {
  const recorder = new TraceRecorder({ sizeBytes: 2n ** 30n, now: () => 0 })
  recorder.read(1, maximumRangeBytes)
  expect(recorder.trace().ranges).toEqual([
    { offset: 0, length: maximumRangeBytes, atMs: 0 },
    { offset: maximumRangeBytes, length: chunk, atMs: 0 },
  ])
})

test('it ends when it is stopped, when it is full and after a day', () => {
  let clock = 0
  const sizeBytes = BigInt(2 ** 40)
  const make = () => new TraceRecorder({ sizeBytes, now: () => clock, chunkBytes: 4096 })
  const [stopped, full, old] = [make(), make(), make()]
  stopped.read(0, 1)
  stopped.stop()
  stopped.read(8192, 1)
  expect(stopped.trace().ranges).toHaveLength(1)
  for (let read = 0; read < maximumTraceRanges + 10; read++) full.read(read * 8192, 1)
  expect(full.trace().ranges).toHaveLength(maximumTraceRanges)
  clock = maximumTraceMs + 1
  old.read(0, 1)
  expect(old.trace().ranges).toEqual([])
})
