import { expect, test, vi } from 'vitest'
import { encodeUtf8 } from '#core/bytes/index.ts'
import { CipherState } from './cipher-state.ts'
import { wire } from './fake-network.fixture.ts'
import { type Frame, frameTypes } from './frame.ts'
import { Link, type LinkEvents } from './link.ts'
import { randomBytes } from './primitives.ts'
import { webSocketTransport } from './transport.ts'

function events(over: Partial<LinkEvents> = {}): LinkEvents {
  return { frame: vi.fn(), writable: vi.fn(), broken: vi.fn(), ...over }
}

async function linked(intervals: readonly [number, number]) {
  const [up, down] = [randomBytes(32), randomBytes(32)]
  const ends = wire()
  const first = { send: new CipherState(up), receive: new CipherState(down) }
  const second = { send: new CipherState(down), receive: new CipherState(up) }
  return [new Link(ends.client, first, intervals[0]), new Link(ends.host, second, intervals[1])] as const
}

test('both directions go on when their keys are renewed', async () => {
  const [client, host] = await linked([3, 3])
  const got: Frame[] = []
  client.listen(events())
  host.listen(events({ frame: (frame) => void got.push(frame) }))
  for (let index = 0; index < 10; index += 1) client.write(Uint8Array.of(frameTypes.data, index))
  await vi.waitFor(() => expect(got.length).toBe(10))
  expect(got.map((frame) => frame.type === 'data' && frame.bytes[0])).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
})

test('an end that does not renew its key is not believed', async () => {
  const [client, host] = await linked([3, 100])
  const broken = vi.fn()
  client.listen(events())
  host.listen(events({ broken }))
  for (let index = 0; index < 4; index += 1) client.write(Uint8Array.of(frameTypes.data, index))
  await vi.waitFor(() =>
    expect(broken).toHaveBeenCalledWith(expect.objectContaining({ code: 'CHANNEL_TAMPERED' })),
  )
})

test('authentic nonsense breaks the link', async () => {
  const [client, host] = await linked([100, 100])
  const broken = vi.fn()
  client.listen(events())
  host.listen(events({ broken }))
  client.write(Uint8Array.of(77))
  await vi.waitFor(() =>
    expect(broken).toHaveBeenCalledWith(expect.objectContaining({ code: 'CHANNEL_MALFORMED' })),
  )
})

test('more records than can be handled break the link', async () => {
  const [, host] = await linked([100, 100])
  const broken = vi.fn()
  const flooded = wire()
  const link = new Link(flooded.host, {
    send: new CipherState(randomBytes(32)),
    receive: new CipherState(randomBytes(32)),
  })
  link.listen(events({ broken }))
  for (let index = 0; index < 400; index += 1) flooded.host.onmessage?.(new Uint8Array(65535))
  expect(broken).toHaveBeenCalledWith(expect.objectContaining({ code: 'CHANNEL_FLOODED' }))
  host.close()
})

test('finishing closes the transport after the last record', async () => {
  const [client, host] = await linked([100, 100])
  const [got, broken] = [vi.fn(), vi.fn()]
  client.listen(events())
  host.listen(events({ frame: got, broken }))
  client.write(Uint8Array.of(frameTypes.data, ...encodeUtf8('last')))
  client.finish()
  await vi.waitFor(() => expect(broken).toHaveBeenCalledTimes(1))
  expect(got).toHaveBeenCalledTimes(1)
})

test('a WebSocket is a transport of binary messages, and text ends it', () => {
  const target = new EventTarget()
  const close = vi.fn(() => target.dispatchEvent(new Event('close')))
  const socket = Object.assign(target, {
    binaryType: 'blob',
    readyState: 1,
    bufferedAmount: 7,
    send: vi.fn(),
    close,
  })
  const transport = webSocketTransport(socket as never)
  const [message, closed] = [vi.fn(), vi.fn()]
  Object.assign(transport, { onmessage: message, onclose: closed })
  expect([socket.binaryType, transport.bufferedAmount]).toEqual(['arraybuffer', 7])
  target.dispatchEvent(new MessageEvent('message', { data: Uint8Array.of(1, 2).buffer }))
  expect(message).toHaveBeenCalledWith(Uint8Array.of(1, 2))
  transport.send(Uint8Array.of(3))
  expect(socket.send).toHaveBeenCalledTimes(1)
  target.dispatchEvent(new MessageEvent('message', { data: 'text' }))
  target.dispatchEvent(new Event('close'))
  expect([message.mock.calls.length, closed.mock.calls.length, close.mock.calls.length]).toEqual([1, 1, 1])
  socket.readyState = 3
  transport.send(Uint8Array.of(4))
  expect(socket.send).toHaveBeenCalledTimes(1)
})
