import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, createServer as createRawServer, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type BlobReader, digestOf, retried } from '#core/blobs/index.ts'
import { type HttpOptions, openHttpLayout, openRegistry } from './index.ts'

const blob = randomBytes(200_000)
const digest = digestOf(blob)

type Answer = (request: IncomingMessage, response: ServerResponse) => void

let answer: Answer
let server: Server
let port: number
let sockets: Set<Socket>
let reader: BlobReader
/** Whoever else a test opens. */
let opened: BlobReader[]

beforeEach(async () => {
  answer = good
  opened = []
  sockets = new Set()
  server = createServer((request, response) => answer(request, response))
  server.on('connection', (socket: Socket) => sockets.add(socket.on('close', () => sockets.delete(socket))))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  ;({ port } = server.address() as AddressInfo)
  reader = open()
})

afterEach(async () => {
  for (const each of [reader, ...opened]) await each[Symbol.asyncDispose]()
  await stop()
})

function open(options: HttpOptions = {}): BlobReader {
  return openHttpLayout(`http://127.0.0.1:${port}/`, { idleMs: 1000, ...options })
}

async function stop(): Promise<void> {
  if (!server.listening) return
  server.close()
  for (const socket of sockets) socket.destroy()
  await once(server, 'close')
}

/** What an honest server does. */
const good: Answer = (request, response) => {
  const [first, last] = rangeOf(request)
  response.setHeader('content-range', `bytes ${first}-${last}/${blob.length}`)
  response.statusCode = 206
  // In one piece: so it says its length.
  response.end(blob.subarray(first, last + 1))
}

function rangeOf({ headers }: IncomingMessage): [number, number] {
  const [, first = '', last = ''] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '') ?? []
  return [Number(first), Number(last)]
}

/** After each bad answer a good one must be read as if nothing had happened. */
async function expectGoodAgain(): Promise<void> {
  answer = good
  expect(Buffer.from(await reader.read(digest, 5, 100_000)).equals(blob.subarray(5, 100_005))).toBe(true)
}

const partial = { 'content-range': 'bytes 1000-1999/200000' }
const bad: readonly [string, string, Answer][] = [
  ['ignores the range', 'BLOB_BAD_STORE', (_, response) => response.end(blob)],
  [
    'sends more without end instead of a range',
    'BLOB_BAD_STORE',
    (_, response) => {
      const more = () => void (response.destroyed || response.write(blob, () => setImmediate(more)))
      more()
    },
  ],
  [
    'sends another range',
    'BLOB_WRONG_ANSWER',
    (_, response) => {
      response.writeHead(206, { 'content-range': 'bytes 1001-2000/200000' })
      response.end(blob.subarray(1001, 2001))
    },
  ],
  [
    'sends a longer range',
    'BLOB_WRONG_ANSWER',
    (_, response) => {
      response.writeHead(206, { 'content-range': 'bytes 1000-2999/200000' })
      response.end(blob.subarray(1000, 3000))
    },
  ],
  [
    'names no range',
    'BLOB_WRONG_ANSWER',
    (_, response) => response.writeHead(206).end(blob.subarray(1000, 2000)),
  ],
  [
    'sends several parts',
    'BLOB_WRONG_ANSWER',
    (_, response) => {
      response.writeHead(206, { 'content-type': 'multipart/byteranges; boundary=x' }).end('--x\r\n')
    },
  ],
  [
    'says a length that does not fit the range',
    'BLOB_WRONG_ANSWER',
    (_, response) =>
      response.writeHead(206, { ...partial, 'content-length': 900 }).end(blob.subarray(0, 900)),
  ],
  [
    'sends less than the range, in chunks',
    'BLOB_WRONG_ANSWER',
    (_, response) => {
      response.writeHead(206, partial)
      response.write(blob.subarray(1000, 1500))
      response.end()
    },
  ],
  [
    'sends more than the range, in chunks',
    'BLOB_WRONG_ANSWER',
    (_, response) => {
      response.writeHead(206, partial)
      response.write(blob.subarray(1000, 2000))
      response.end('more')
    },
  ],
  [
    'compresses',
    'BLOB_WRONG_ANSWER',
    (_, response) => {
      response.writeHead(206, { ...partial, 'content-encoding': 'gzip' }).end(blob.subarray(1000, 2000))
    },
  ],
  ['redirects', 'BLOB_BAD_STORE', (_, response) => response.writeHead(302, { location: '/x' }).end()],
  ['does not have it', 'BLOB_MISSING', (_, response) => response.writeHead(404).end('nothing')],
  ['says that it is shorter', 'BLOB_WRONG_ANSWER', (_, response) => response.writeHead(416).end()],
  ['wants a password', 'BLOB_DENIED', (_, response) => response.writeHead(401).end()],
  ['allows it to nobody', 'BLOB_DENIED', (_, response) => response.writeHead(403).end()],
  [
    'promises all of the blob in an error, and breaks off',
    'BLOB_WRONG_ANSWER',
    (_, response) => {
      response.writeHead(416, { 'content-length': blob.length / 10 })
      response.write('invalid range: failed to overlap', () => response.destroy())
    },
  ],
  ['is in trouble', 'BLOB_UNAVAILABLE', (_, response) => response.writeHead(503).end('busy')],
  ['is asked too often', 'BLOB_UNAVAILABLE', (_, response) => response.writeHead(429).end()],
  ['answers with a strange status', 'BLOB_WRONG_ANSWER', (_, response) => response.writeHead(299).end()],
  ['hangs before the answer', 'BLOB_UNAVAILABLE', () => undefined],
  [
    'hangs within the answer',
    'BLOB_UNAVAILABLE',
    (_, response) => {
      response.writeHead(206, { ...partial, 'content-length': 1000 })
      response.write(blob.subarray(1000, 1500))
    },
  ],
  [
    'cuts off within the answer',
    'BLOB_UNAVAILABLE',
    (_, response) => {
      response.writeHead(206, { ...partial, 'content-length': 1000 })
      response.write(blob.subarray(1000, 1500), () => response.destroy())
    },
  ],
  ['cuts off before the answer', 'BLOB_UNAVAILABLE', (request) => request.socket.destroy()],
  ['speaks something else', 'BLOB_WRONG_ANSWER', (request) => request.socket.end('SSH-2.0-x\r\n')],
  [
    'sends headers without end',
    'BLOB_WRONG_ANSWER',
    (request) => request.socket.write(`HTTP/1.1 206 OK\r\nx: ${'y'.repeat(100_000)}`),
  ],
]

describe('a web server that', () => {
  test.each(bad)('%s: %s', async (_what, code, badly) => {
    await expectGoodAgain()
    answer = badly
    await expect(reader.read(digest, 1000, 1000)).rejects.toMatchObject({ name: 'BlobError', code })
    await expectGoodAgain()
  })

  test('is gone: BLOB_UNAVAILABLE, and a reader that retries waits until it is back', async () => {
    await reader.read(digest, 0, 10)
    await stop()
    await expect(reader.read(digest, 0, 10)).rejects.toMatchObject({ code: 'BLOB_UNAVAILABLE' })
    const patient = retried(reader, {
      attempts: 100,
      pausesMs: { first: 5, longest: 50 },
      sleep: (milliseconds, signal) => sleep(milliseconds, undefined, { signal }),
      random: Math.random,
    })
    const reads = Promise.all([0, 1, 2].map((at) => patient.read(digest, at, 1000)))
    const abort = new AbortController()
    const given = expect(patient.read(digest, 0, 10, abort.signal)).rejects.toThrow('enough')
    await sleep(100)
    abort.abort(new Error('enough'))
    await given
    server = createServer((request, response) => answer(request, response)).listen(port, '127.0.0.1')
    server.on('connection', (socket: Socket) => sockets.add(socket))
    expect(Buffer.from((await reads)[2]!).equals(blob.subarray(2, 1002))).toBe(true)
  })

  test('closes connections that it had kept: they are replaced without an error', async () => {
    await Promise.all(Array.from({ length: 32 }, (_, at) => reader.read(digest, at, 100)))
    // Closes each kept connection when the next request comes in on it.
    const kept = new Set(sockets)
    expect(kept.size).toBe(16)
    answer = (request, response) => {
      if (kept.has(request.socket)) request.socket.destroy()
      else good(request, response)
    }
    expect(
      await Promise.all(Array.from({ length: 32 }, (_, at) => reader.read(digest, at, 100))),
    ).toHaveLength(32)
  })

  test('sees at most as many requests at once as were allowed', async () => {
    const few = open({ connections: 3, idleMs: 10_000 })
    opened.push(few)
    let now = 0
    let most = 0
    answer = (request, response) => {
      most = Math.max(most, ++now)
      setTimeout(() => {
        now--
        good(request, response)
      }, 5)
    }
    await Promise.all(Array.from({ length: 30 }, (_, at) => few.read(digest, at, 100)))
    expect(most).toBe(3)
  })

  test('hears only what it was to be told', async () => {
    const known = open({ headers: { 'x-token': 'abc' } })
    opened.push(known)
    let headers: IncomingMessage['headers'] = {}
    answer = (request, response) => {
      headers = request.headers
      good(request, response)
    }
    await known.read(digest, 0, 1)
    expect(headers).toEqual({
      'x-token': 'abc',
      'accept-encoding': 'identity',
      range: 'bytes=0-0',
      host: `127.0.0.1:${port}`,
      connection: 'keep-alive',
    })
  })

  test('answers plainly is asked over one connection, for the index, too; errors are answers', async () => {
    let connections = 0
    server.on('connection', () => connections++)
    const answers: readonly Answer[] = [
      (_, response) => response.writeHead(503, { 'content-length': 4 }).end('busy'),
      (_, response) => response.writeHead(404, { 'content-length': 0 }).end(),
      (_, response) => response.end('{"schemaVersion":2,"manifests":[]}'),
    ]
    const outcomes: unknown[] = []
    for (const next of answers) {
      answer = next
      outcomes.push(await reader.references().catch(({ code }: { code: string }) => code))
    }
    expect(outcomes).toEqual(['BLOB_UNAVAILABLE', 'BLOB_BAD_STORE', []])
    await expectGoodAgain()
    expect(connections).toBe(1)
  })

  test('sends its index in pieces of unknown length is read all the same', async () => {
    for (let times = 0; times < 5; times++) {
      answer = (_, response) => {
        response.write('{"schemaVersion":2,')
        response.end('"manifests":[]}')
      }
      expect(await reader.references()).toEqual([])
    }
    await expectGoodAgain()
  })

  test('sends an index without end is given up', async () => {
    answer = (_, response) => {
      const more = () => void (response.destroyed || response.write(blob, () => setImmediate(more)))
      more()
    }
    const patient = open({ idleMs: 20_000 })
    opened.push(patient)
    await expect(patient.references()).rejects.toMatchObject({ code: 'BLOB_WRONG_ANSWER' })
  })

  test('accepts a connection and never shakes hands for TLS is BLOB_UNAVAILABLE', async () => {
    const deaf = createRawServer((socket) => sockets.add(socket)).listen(0, '127.0.0.1')
    await once(deaf, 'listening')
    const tls = openHttpLayout(`https://127.0.0.1:${(deaf.address() as AddressInfo).port}/`, { idleMs: 300 })
    opened.push(tls)
    await expect(tls.read(digest, 0, 1)).rejects.toMatchObject({ code: 'BLOB_UNAVAILABLE' })
    deaf.close()
    for (const socket of sockets) socket.destroy()
  })

  test('speaks no TLS where TLS was expected is BLOB_BAD_STORE', async () => {
    const tls = openHttpLayout(`https://127.0.0.1:${port}/`)
    opened.push(tls)
    await expect(tls.read(digest, 0, 1)).rejects.toMatchObject({ code: 'BLOB_BAD_STORE' })
  })

  test.each(['http://192.0.2.1/', 'http://example.org/'])('is another machine without TLS: %s', (url) => {
    expect(() => openHttpLayout(url)).toThrow(expect.objectContaining({ code: 'BLOB_BAD_STORE' }))
    expect(() => openRegistry({ url, prefix: '' })).toThrow(
      expect.objectContaining({ code: 'BLOB_BAD_STORE' }),
    )
  })
})

/** A page of a registry's list, of one name again and again. */
function names(count: number, name: string): string {
  return JSON.stringify({ repositories: Array(count).fill(name) })
}

describe('a registry that', () => {
  const credentials = { user: 'olaf', password: 'secret' }
  const openBad = () => {
    const store = openRegistry({ url: `http://127.0.0.1:${port}`, prefix: 'p' }, { credentials })
    opened.push(store)
    return store
  }
  const image = { name: 'debian', version: '1' }

  test('sends for tokens to another machine without TLS gets none', async () => {
    answer = (_, response) =>
      response.writeHead(401, { 'www-authenticate': 'Bearer realm="http://192.0.2.1/token"' }).end()
    await expect(openBad().manifest(image)).rejects.toMatchObject({ code: 'BLOB_BAD_STORE' })
  })

  test.each(['nonsense', '{"token":1}', '{"token":"a b"}', '{}', '{"token":"x\\r\\nhost: y"}'])(
    'hands out %s as a token is not believed',
    async (token) => {
      answer = (request, response) => {
        if (request.url?.startsWith('/token')) response.end(token)
        else
          response
            .writeHead(401, { 'www-authenticate': `Bearer realm="http://127.0.0.1:${port}/token"` })
            .end()
      }
      await expect(openBad().manifest(image)).rejects.toMatchObject({ code: 'BLOB_WRONG_ANSWER' })
    },
  )

  test('refuses every token is asked a few times only', async () => {
    let asked = 0
    answer = (request, response) => {
      asked++
      if (request.url?.startsWith('/token')) response.end('{"token":"x"}')
      else
        response
          .writeHead(401, {
            'www-authenticate': `Bearer realm="http://127.0.0.1:${port}/token"`,
            'content-length': 0,
          })
          .end()
    }
    await expect(openBad().manifest(image)).rejects.toMatchObject({ code: 'BLOB_DENIED' })
    expect(asked).toBeLessThan(7)
  })

  test('lists pages that never end is given up', async () => {
    answer = (_, response) => {
      response.setHeader('link', '</v2/_catalog?last=x>; rel="next"')
      response.end('{"repositories":[]}')
    }
    await expect(openBad().references()).rejects.toMatchObject({ code: 'BLOB_WRONG_ANSWER' })
  })

  test.each([401, 403, 404, 405])(
    'answers %d for the list of its repositories still lists the versions of one image',
    async (status) => {
      answer = ({ url = '' }, response) => {
        if (url.startsWith('/v2/p/debian/tags/list')) response.end('{"tags":["1","2"]}')
        else response.writeHead(status).end('{"errors":[{"code":"DENIED"}]}')
      }
      const versions = [
        { name: 'debian', version: '1' },
        { name: 'debian', version: '2' },
      ]
      expect(await openBad().references(undefined, 'debian')).toEqual(versions)
      await expect(openBad().references()).rejects.toMatchObject({ code: 'BLOB_BAD_STORE' })
    },
  )

  test.each([
    ['in one page', names(1_000_000, 'a')],
    ['in many pages', names(1000, 'a')],
    ['of long names', names(100, 'a'.repeat(100_000))],
  ])('lists too much %s is given up, and soon', async (_how, page) => {
    let asked = 0
    answer = (_, response) => {
      asked++
      response.setHeader('link', '</v2/_catalog?last=x>; rel="next"')
      response.end(page)
    }
    await expect(openBad().references()).rejects.toMatchObject({ code: 'BLOB_WRONG_ANSWER' })
    expect(asked).toBeLessThan(70)
  })

  test('lists too many tags of many repositories is given up', async () => {
    const tags = JSON.stringify({ tags: Array(30_000).fill('1') })
    answer = ({ url }, response) => response.end(url?.includes('/tags/') ? tags : names(100, 'p/a'))
    await expect(openBad().references()).rejects.toMatchObject({ code: 'BLOB_WRONG_ANSWER' })
  })

  test('does not take so much at once is told what to set', async () => {
    answer = (request, response) => {
      if (request.method === 'HEAD') response.writeHead(404).end()
      else if (request.method === 'POST') response.writeHead(202, { location: '/upload' }).end()
      // As nginx does: it does not wait for the body.
      else response.writeHead(413, { connection: 'close' }).end('<html>413 Request Entity Too Large</html>')
    }
    await expect(openBad().put(digest, blob)).rejects.toMatchObject({
      code: 'BLOB_BAD_STORE',
      remedy: expect.stringContaining('client_max_body_size'),
    })
  })

  test('answers before all was sent is sent no more of what may be used again', async () => {
    const cameWhole = Promise.withResolvers<boolean>()
    answer = (request, response) => {
      if (request.method === 'HEAD') response.writeHead(404).end()
      else if (request.method === 'POST') response.writeHead(202, { location: '/upload' }).end()
      else {
        request.socket.on('close', () => cameWhole.resolve(request.complete))
        response.writeHead(201, { 'content-length': 0 }).end()
      }
    }
    const large = Buffer.alloc(33_554_432, 1)
    await openBad().put(digestOf(large), large)
    expect(await cameWhole.promise).toBe(false)
  })

  test.each(['https://192.0.2.1/upload', '//192.0.2.1/upload', ''])(
    'wants an upload at %j gets no bytes',
    async (location) => {
      const methods: string[] = []
      answer = (request, response) => {
        methods.push(request.method ?? '')
        if (request.method === 'HEAD') response.writeHead(404).end()
        else response.writeHead(202, { location }).end()
      }
      await expect(openBad().put(digest, blob)).rejects.toMatchObject({
        code: 'BLOB_WRONG_ANSWER',
        remedy: expect.stringContaining('X-Forwarded-Proto'),
      })
      expect(methods).not.toContain('PUT')
    },
  )

  test('is a plain web server is BLOB_BAD_STORE', async () => {
    answer = (_, response) => response.writeHead(404).end('<html>nothing here</html>')
    await expect(openBad().manifest(image)).rejects.toMatchObject({
      code: 'BLOB_BAD_STORE',
      remedy: expect.any(String),
    })
  })

  test('redirects a blob to another server: that gets no credentials', async () => {
    const seen: IncomingMessage['headers'][] = []
    const elsewhere = createServer((request, response) => {
      seen.push(request.headers)
      good(request, response)
    }).listen(0, '127.0.0.1')
    await once(elsewhere, 'listening')
    const target = `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}/signed?x=1`
    answer = (request, response) => {
      if (request.headers.authorization === undefined) {
        response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end()
      } else if (request.method === 'HEAD') response.writeHead(200, { 'content-length': blob.length }).end()
      else response.writeHead(307, { location: target }).end()
    }
    const store = openBad()
    expect(Buffer.from(await store.read(digest, 7, 1000)).equals(blob.subarray(7, 1007))).toBe(true)
    expect(seen).toHaveLength(1)
    expect(seen[0]!.authorization).toBeUndefined()
    await store[Symbol.asyncDispose]()
    elsewhere.close()
    answer = (request, response) => {
      if (request.method === 'HEAD') response.writeHead(200, { 'content-length': blob.length }).end()
      else response.writeHead(307, { location: 'http://192.0.2.1/' }).end()
    }
    await expect(openBad().read(digest, 7, 1000)).rejects.toMatchObject({ code: 'BLOB_BAD_STORE' })
  })
})
