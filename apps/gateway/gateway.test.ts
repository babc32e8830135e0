import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { readHead, startRig } from './gateway.rig.ts'

test('a person is joined to the host of the route, and the host sees the request as it came', async () => {
  await using rig = await startRig()
  const id = randomUUID()
  const session = randomUUID()
  const host = await rig.spare(await rig.identity('host', id))
  expect(rig.gateway.hosts()).toEqual([id])
  const person = await rig.person(rig.route(id, session), [
    'X-Odd:  é ',
    'Cookie: secret=1',
    'x-trustcast-session: forged',
  ])
  expect(await readHead(host)).toBe(
    [
      'GET /channel HTTP/1.1',
      'Host: g',
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
      'X-Odd: é',
      'Sec-WebSocket-Protocol: trustcast.1',
      `X-Trustcast-Session: ${session}`,
      '\r\n',
    ]
      .join('\r\n')
      .replace('é', Buffer.from('é').toString('latin1')),
  )
  expect(rig.gateway.connections).toBe(1)
  host.write('HTTP/1.1 101 Switching Protocols\r\n\r\n')
  expect(await readHead(person)).toBe('HTTP/1.1 101 Switching Protocols\r\n\r\n')
  host.end()
  person.resume()
  await once(person, 'end')
  person.end()
})
