import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { clientOf, peerOf } from './asker.ts'

const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:20FF 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 115 1 000000004881e1d6 100 0 0 10 0
   1: 0100007F:20FF 0100007F:C112 01 00000000:00000000 00:00000000 00000000     0        0 116 1 000000004881e1d6 100 0 0 10 0
   2: 0100007F:C112 0100007F:20FF 01 00000000:00000000 00:00000000 00000000  1000        0 117 1 000000003e2d1fda
   3: 0100007F:C113 0100007F:20FF 06 00000000:00000000 03:00000000 00000000     0        0 0 3 000000003e2d1fda`

test("the client's own end says whose it is, not the server's", () => {
  expect(clientOf(table, 0xc112, 0x20ff)).toEqual({ uid: 1000, inode: '117' })
  expect(clientOf(table, 0xc114, 0x20ff)).toBeUndefined()
})

const ours = 'u_str ESTAB 0      0      /run/a b/endpoint.sock 1078693            * 1078692'
const theirs = 'u_str ESTAB 0      0                                    * 1078692            * 1078693'

test('the other end of a unix connection is found', () => {
  const lines = `${ours}\n${theirs}\nu_str ESTAB 0      0                                    * 55            * 56 `
  expect(peerOf(lines, '1078693')).toBe('1078692')
  expect(peerOf(lines, '55')).toBe('56')
  expect(peerOf(lines, '99')).toBeUndefined()
})

test('whoever names a socket after a line of the table gains nobody by it', () => {
  const forged = 'u_str ESTAB 0 0 /tmp/x\nu_str ESTAB 0 0 * 1078693 * 7 77            * 78'
  for (const lines of [`${forged}\n${ours}\n${theirs}`, `${ours}\n${theirs}\n${forged}`])
    expect(peerOf(lines, '1078693')).not.toBe('7')
  const whole = forged.replace(' 77            * 78', '\n')
  expect(peerOf(`${whole}\n${ours}\n${theirs}`, '1078693')).toBeUndefined()
})

test('arbitrary tables name nobody or somebody, and never break', () => {
  fc.assert(
    fc.property(fc.string(), fc.nat(65_535), (text, port) => {
      const client = clientOf(text, port, 1)
      const peer = peerOf(text, String(port))
      expect(client === undefined || Number.isSafeInteger(client.uid)).toBe(true)
      expect(peer === undefined || /^\d+$/.test(peer)).toBe(true)
    }),
  )
})
