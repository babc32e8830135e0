import { randomBytes } from 'node:crypto'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeHex, encodeUtf8 } from '#core/bytes/index.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import { type CipherSuite, cipherSuite, type Established, RecordSplitter, TlsConnection } from './index.ts'

/** RFC 8448, section 3, "Simple 1-RTT Handshake", after the handshake. */
const trace = {
  client: bytesOf('9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5'),
  server: bytesOf('a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643'),
  content: Uint8Array.from({ length: 50 }, (_, at) => at),
  fromClient: bytesOf(
    '1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4',
  ),
  fromServer: bytesOf(
    '17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a59a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d',
  ),
  clientCloses: bytesOf('1703030013c9872760655666b74d7ff1153efd6db6d0b0e3'),
  serverCloses: bytesOf('1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9'),
}

function bytesOf(hex: string): Uint8Array {
  return decodeHex(hex)
}

function suiteOf(name: string): CipherSuite {
  const suite = cipherSuite(name)
  if (suite === undefined) throw new Error(`${name} is no suite`)
  return suite
}

test('the records of RFC 8448 are opened and made', () => {
  const suite = suiteOf('TLS_AES_128_GCM_SHA256')
  // The server has sent a ticket before, its first record.
  const client = { secret: trace.client, sequence: 0 }
  const server = { secret: trace.server, sequence: 1 }
  const atServer = new TlsConnection({ suite, receiving: client, sending: server })
  const atClient = new TlsConnection({ suite, receiving: server, sending: client })
  expect(atClient.send(trace.content)).toEqual([Buffer.from(trace.fromClient)])
  expect(atServer.send(trace.content)).toEqual([Buffer.from(trace.fromServer)])
  expect(atClient.close()).toEqual(Buffer.from(trace.clientCloses))
  expect(atServer.close()).toEqual(Buffer.from(trace.serverCloses))
  const data = { kind: 'data', bytes: Buffer.from(trace.content) }
  expect(atServer.receive(trace.fromClient)).toEqual(data)
  expect(atServer.receive(trace.clientCloses)).toEqual({ kind: 'closed' })
  expect(atClient.receive(trace.fromServer)).toEqual(data)
  expect(atClient.receive(trace.serverCloses)).toEqual({ kind: 'closed' })
})

function twoEnds(name = 'TLS_AES_256_GCM_SHA384', sequence = 0): [TlsConnection, TlsConnection] {
  const suite = suiteOf(name)
  const secretBytes = suite.hash === 'sha384' ? 48 : 32
  const [one, other] = [1, 2].map((fill) => ({ secret: new Uint8Array(secretBytes).fill(fill), sequence }))
  if (one === undefined || other === undefined) throw new Error('two directions')
  const established = (receiving: typeof one, sending: typeof one): Established => ({
    suite,
    receiving,
    sending,
  })
  return [new TlsConnection(established(one, other)), new TlsConnection(established(other, one))]
}

test.each(['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256'])(
  'with %s bytes arrive as they were sent, in any pieces',
  (name) => {
    const whole = randomBytes(100_000)
    const [near, far] = twoEnds(name)
    const wire = Buffer.concat(near.send(whole))
    const step = fc.integer({ min: 1, max: 40_000 })
    fc.assert(
      fc.property(fc.array(step, { minLength: 5, maxLength: 5 }), (steps) => {
        const splitter = new RecordSplitter()
        const records: Uint8Array[] = []
        for (let at = 0, turn = 0; at < wire.length; turn++) {
          const end = at + (steps[turn % steps.length] ?? 1)
          splitter.add(wire.subarray(at, end))
          for (let record = splitter.next(); record; record = splitter.next()) records.push(record)
          at = end
        }
        expect(Buffer.concat(records).equals(wire)).toBe(true)
      }),
    )
    const splitter = new RecordSplitter()
    splitter.add(wire)
    const read: Uint8Array[] = []
    for (let record = splitter.next(); record; record = splitter.next()) {
      const received = far.receive(record)
      if (received.kind === 'data') read.push(received.bytes)
    }
    expect(Buffer.concat(read).equals(whole)).toBe(true)
  },
)

test('keys that have protected 2^24 records are updated', () => {
  const [near, far] = twoEnds(undefined, 2 ** 24)
  const [update, data, ...more] = near.send(encodeUtf8('after'))
  expect(more).toEqual([])
  expect(far.receive(update ?? new Uint8Array())).toEqual({ kind: 'updated' })
  expect(far.receive(data ?? new Uint8Array())).toEqual({ kind: 'data', bytes: Buffer.from('after') })
})

function twoRecords(): [TlsConnection, Uint8Array, Uint8Array] {
  const [near, far] = twoEnds()
  const [first, second] = [...near.send(encodeUtf8('first')), ...near.send(encodeUtf8('second'))]
  if (first === undefined || second === undefined) throw new Error('two records')
  return [far, first, second]
}

test('records that are altered, repeated, left out or swapped are refused, and the peer is told', () => {
  const [swapped, , second] = twoRecords()
  expect(() => swapped.receive(second)).toThrow(expect.objectContaining({ code: 'TLS_BAD_RECORD' }))
  const [repeated, first] = twoRecords()
  repeated.receive(first)
  expect(() => repeated.receive(first)).toThrow(expect.objectContaining({ code: 'TLS_BAD_RECORD' }))
  const [, whole] = twoRecords()
  for (let at = 1; at < whole.length; at++) {
    const [far] = twoRecords()
    const altered = Uint8Array.from(whole, (byte, index) => (index === at ? byte ^ 1 : byte))
    expect(() => far.receive(altered), `byte ${at}`).toThrow(
      expect.objectContaining({ code: 'TLS_BAD_RECORD' }),
    )
  }
})

test.each(['GET / HTTP/1.1', 'SSH-2.0-', '\u0016\u0002'])('%j begins no record', (text) => {
  const splitter = new RecordSplitter()
  splitter.add(encodeUtf8(text))
  expect(() => splitter.next()).toThrow(expect.objectContaining({ code: 'TLS_UNEXPECTED' }))
})

test('what has no place after the handshake is refused', () => {
  const [near, far] = twoEnds()
  expect(() => far.receive(Uint8Array.of(22, 3, 3, 0, 1, 1))).toThrow(
    expect.objectContaining({ code: 'TLS_UNEXPECTED' }),
  )
  expect(() => far.receive(Uint8Array.of(23, 3, 3, 0, 1, 1))).toThrow(
    expect.objectContaining({ code: 'TLS_BAD_RECORD' }),
  )
  const splitter = new RecordSplitter()
  splitter.add(Uint8Array.of(23, 3, 3, 0xff, 0xff))
  expect(() => splitter.next()).toThrow(expect.objectContaining({ code: 'TLS_RECORD_OVERFLOW' }))
  const error = (() => {
    try {
      far.receive(Uint8Array.of(23, 3, 3, 0, 1, 1))
    } catch (thrown) {
      return thrown
    }
    return undefined
  })()
  const alert = far.alert(error)
  expect(() => near.receive(alert ?? new Uint8Array())).toThrow(
    expect.objectContaining({ code: 'TLS_ALERT', message: expect.stringContaining('20') }),
  )
})

test('any bytes are data of the peer or refused with a code', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const [, far] = twoEnds()
      const splitter = new RecordSplitter()
      splitter.add(bytes)
      try {
        for (let record = splitter.next(); record; record = splitter.next()) far.receive(record)
      } catch (error) {
        expect(isCoded(error)).toBe(true)
      }
    }),
  )
})
