import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { decodeHex, encodeHex, encodeUtf8 } from '#core/bytes/index.ts'
import { CipherState } from './cipher-state.ts'
import { NoiseError } from './errors.ts'
import { type HandshakeOptions, type HandshakeResult, HandshakeState } from './noise.ts'
import type { PatternName } from './noise-patterns.ts'
import { randomBytes } from './primitives.ts'
import { seal, unseal } from './seal.ts'
import { diffieHellman, exportPrivate, exportPublic, generateX25519, importPrivate } from './x25519.ts'

interface Vector {
  readonly source: string
  readonly protocol_name: string
  readonly init_prologue: string
  readonly init_static?: string
  readonly init_ephemeral: string
  readonly init_remote_static?: string
  readonly init_psks?: readonly string[]
  readonly resp_prologue: string
  readonly resp_static?: string
  readonly resp_ephemeral?: string
  readonly resp_remote_static?: string
  readonly resp_psks?: readonly string[]
  readonly handshake_hash?: string
  readonly messages: readonly { readonly payload: string; readonly ciphertext: string }[]
}

const file = new URL('../../vectors/noise-25519-aesgcm-sha256.json', import.meta.url)
const { vectors } = JSON.parse(readFileSync(file, 'utf8')) as { vectors: readonly Vector[] }
const empty = new Uint8Array(0)

async function side(vector: Vector, role: 'initiator' | 'responder'): Promise<HandshakeState> {
  const first = role === 'initiator'
  const prologue = decodeHex(first ? vector.init_prologue : vector.resp_prologue)
  const staticKey = first ? vector.init_static : vector.resp_static
  const ephemeral = first ? vector.init_ephemeral : vector.resp_ephemeral
  const remote = first ? vector.init_remote_static : vector.resp_remote_static
  const psk = (first ? vector.init_psks : vector.resp_psks)?.[0]
  const pattern = vector.protocol_name.split('_')[1] as PatternName
  const options: HandshakeOptions = {
    pattern,
    role,
    prologue,
    ...(staticKey !== undefined && { staticKey: await importPrivate(decodeHex(staticKey)) }),
    ...(ephemeral !== undefined && { ephemeral: await importPrivate(decodeHex(ephemeral)) }),
    ...(remote !== undefined && { remoteStatic: decodeHex(remote) }),
    ...(psk !== undefined && { psk: decodeHex(psk) }),
  }
  return HandshakeState.start(options)
}

test.each(vectors)('$source: $protocol_name agrees byte for byte', async (vector) => {
  const parties = [await side(vector, 'initiator'), await side(vector, 'responder')] as const
  let results: readonly HandshakeResult[] | undefined
  for (const [index, { payload, ciphertext }] of vector.messages.entries()) {
    const writer = index % 2
    if (results === undefined) {
      const message = await parties[writer]!.writeMessage(decodeHex(payload))
      expect(encodeHex(message)).toBe(ciphertext)
      expect(encodeHex(await parties[1 - writer]!.readMessage(message))).toBe(payload)
      if (parties[0].complete) results = [await parties[0].finish(), await parties[1].finish()]
    } else {
      const message = await results[writer]!.send.encrypt(empty, decodeHex(payload))
      expect(encodeHex(message)).toBe(ciphertext)
      expect(encodeHex(await results[1 - writer]!.receive.decrypt(empty, message))).toBe(payload)
    }
  }
  const hashes = results!.map((result) => encodeHex(result.handshakeHash))
  expect(hashes[0]).toBe(hashes[1])
  if (vector.handshake_hash !== undefined) expect(hashes[0]).toBe(vector.handshake_hash)
})

test('both ends export the same secret, another for each label', async () => {
  const parties = [await side(vectors[0]!, 'initiator'), await side(vectors[0]!, 'responder')] as const
  await parties[1].readMessage(await parties[0].writeMessage(empty))
  await parties[0].readMessage(await parties[1].writeMessage(empty))
  const [a, b] = [await parties[0].finish(), await parties[1].finish()]
  expect(await a.exportSecret('one', 32)).toEqual(await b.exportSecret('one', 32))
  expect(await a.exportSecret('one', 32)).not.toEqual(await b.exportSecret('two', 32))
})

test('a handshake out of turn, or after a failure, is refused', async () => {
  const initiator = await side(vectors[0]!, 'initiator')
  const responder = await side(vectors[0]!, 'responder')
  await expect(responder.writeMessage(empty)).rejects.toMatchObject({ code: 'NOISE_STATE' })
  await expect(initiator.finish()).rejects.toMatchObject({ code: 'NOISE_STATE' })
  const message = await initiator.writeMessage(empty)
  message[40]! ^= 1
  await expect(responder.readMessage(message)).rejects.toMatchObject({ code: 'NOISE_DECRYPT' })
  message[40]! ^= 1
  await expect(responder.readMessage(message)).rejects.toMatchObject({ code: 'NOISE_STATE' })
})

/** Begins every call before the first one has ended, with a rekey before the fourth. */
function overlapping(
  cipher: CipherState,
  run: (text: Uint8Array) => Promise<Uint8Array>,
  list: Uint8Array[],
) {
  return Promise.all(
    list.map((item, index) => {
      if (index === 3) cipher.rekey()
      return run(item)
    }),
  )
}

test('overlapping encryptions and decryptions keep their order across a rekey', async () => {
  const key = randomBytes(32)
  const [send, receive] = [new CipherState(key), new CipherState(key)]
  const texts = ['a', 'b', 'c', 'd', 'e', 'f'].map(encodeUtf8)
  const sealed = await overlapping(send, (text) => send.encrypt(empty, text), texts)
  expect(await overlapping(receive, (text) => receive.decrypt(empty, text), sealed)).toEqual(texts)
  const unchanged = new CipherState(key)
  for (const message of sealed.slice(0, 3)) await unchanged.decrypt(empty, message)
  await expect(unchanged.decrypt(empty, sealed[3]!)).rejects.toBeInstanceOf(NoiseError)
})

test('a public key of low order is refused', async () => {
  const { privateKey } = await generateX25519()
  for (const first of [0, 1]) {
    const key = new Uint8Array(32)
    key[0] = first
    await expect(diffieHellman(privateKey, key)).rejects.toMatchObject({ code: 'NOISE_WEAK_KEY' })
  }
})

test('an imported private key has the public key it had before', async () => {
  const pair = await generateX25519(true)
  const again = await importPrivate(await exportPrivate(pair.privateKey))
  expect(await exportPublic(again.publicKey)).toEqual(await exportPublic(pair.publicKey))
  expect(again.privateKey.extractable).toBe(false)
})

test('what is sealed opens only with the key, the prologue and the very bytes', async () => {
  const [pair, other] = [await generateX25519(), await generateX25519()]
  const [text, prologue] = [encodeUtf8('ticket'), encodeUtf8('for host 7')]
  const sealed = await seal(await exportPublic(pair.publicKey), text, prologue)
  expect(await unseal(pair, sealed, prologue)).toEqual(text)
  await expect(unseal(other, sealed, prologue)).rejects.toMatchObject({ code: 'NOISE_DECRYPT' })
  await expect(unseal(pair, sealed, encodeUtf8('for host 8'))).rejects.toMatchObject({
    code: 'NOISE_DECRYPT',
  })
  await expect(unseal(pair, sealed.subarray(0, 20), prologue)).rejects.toMatchObject({ code: 'NOISE_SHORT' })
  await expect(
    seal(await exportPublic(pair.publicKey), new Uint8Array(65488), prologue),
  ).rejects.toMatchObject({
    code: 'NOISE_TOO_LONG',
  })
  for (let index = 0; index < sealed.length; index += 7) {
    const altered = sealed.slice()
    altered[index]! ^= 0x40
    await expect(unseal(pair, altered, prologue)).rejects.toBeInstanceOf(NoiseError)
  }
})
