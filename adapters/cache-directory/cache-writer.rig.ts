/**
 * `cache-writer.rig.ts DIR MAXIMUM_BYTES FIRST COUNT`: puts entries, reads all of them back and prints what came of it.
 * Says `begun` when the first are written.
 */
import { setImmediate } from 'node:timers/promises'
import { contentOf, nameOf } from './entries.fixture.ts'
import { openCacheDirectory } from './index.ts'

const [, , dir = '', maximumBytes, first, count] = process.argv
const cache = openCacheDirectory({ dir, maximumBytes: Number(maximumBytes) })
const numbers = Array.from({ length: Number(count) }, (_, index) => Number(first) + index)
let hasBegun = false
for (const number of numbers) {
  cache.put(nameOf(number), contentOf(number))
  while (cache.stats().pendingBytes > 1_000_000) await setImmediate()
  if (!hasBegun && cache.stats().kept > 20) {
    hasBegun = true
    console.log('begun')
  }
}
while (cache.stats().pendingBytes > 0) await setImmediate()
let found = 0
let wrong = 0
for (const number of numbers) {
  const bytes = await cache.get(nameOf(number))
  if (bytes !== undefined) found += 1
  if (bytes !== undefined && Buffer.compare(bytes, contentOf(number)) !== 0) wrong += 1
}
await cache[Symbol.asyncDispose]()
console.log(JSON.stringify({ found, wrong, ...cache.stats() }))
