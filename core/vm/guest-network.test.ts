import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { type AllowList, answerName, destinationOf, portsOf } from './guest-network.ts'

const allow: AllowList = [
  { host: 'mail.example', ports: [443, 993] },
  { host: 'files.example', ports: [443] },
  { host: '192.0.2.7', ports: [8080] },
  { host: 'mail.example', ports: [25] },
]

/** A question as resolvers send it: id 0x1234, recursion desired. */
function query(name: string, type = 1): Uint8Array {
  const labels = name.split('.').flatMap((label) => [label.length, ...Buffer.from(label)])
  return Uint8Array.from([0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...labels, 0, 0, type, 0, 1])
}

test('a listed name has an address, which leads to its host on its ports and no others', () => {
  const answer = answerName(query('Files.Example'), allow)
  expect(answer?.subarray(0, 12)).toEqual(Buffer.from('123485800001000100000000', 'hex'))
  expect(answer?.subarray(-4)).toEqual(Buffer.from([198, 18, 0, 2]))
  expect(destinationOf(allow, '198.18.0.2', 443)).toEqual({ host: 'files.example', port: 443 })
  expect(destinationOf(allow, '198.18.0.1', 25)).toEqual({ host: 'mail.example', port: 25 })
  expect(destinationOf(allow, '192.0.2.7', 8080)).toEqual({ host: '192.0.2.7', port: 8080 })
  for (const [address, port] of [
    ['198.18.0.2', 993],
    ['198.18.0.4', 443],
    ['127.0.0.1', 443],
    ['192.0.2.7', 443],
  ] as const)
    expect(destinationOf(allow, address, port)).toBeUndefined()
  expect(portsOf(allow)).toEqual([25, 443, 993, 8080])
})

test.each([
  ['another name', query('evil.example'), 3],
  ['a name that has no IPv6 address', query('mail.example', 28), 0],
])('%s is answered without an address', (_, question, code) => {
  const answer = answerName(question, allow)
  expect(answer?.[3]).toBe(0x80 | code)
  expect(answer?.[7]).toBe(0)
})

test('any bytes are answered with a short answer to themselves, or not at all', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ maxLength: 600 }),
        fc.domain().map((name) => query(name)),
      ),
      (bytes) => {
        const answer = answerName(bytes, allow)
        if (answer === undefined) return
        expect(answer.length).toBeLessThanOrEqual(bytes.length + 16)
        expect(answer.subarray(0, 2)).toEqual(Buffer.from(bytes.subarray(0, 2)))
      },
    ),
  )
})
