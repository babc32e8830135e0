import { createPrivateKey, generateKeyPairSync } from 'node:crypto'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { openCheckpoint, parseCheckpoint, signCheckpoint } from './checkpoint.ts'
import { AuditError } from './errors.ts'
import {
  encodeVerifierKey,
  MAX_NOTE_BYTES,
  parseNote,
  parseVerifierKey,
  signNote,
  verifyNote,
} from './note.ts'

// The example of golang.org/x/mod/sumdb/note.
const VKEY = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW'
const SEED = Buffer.from('AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz', 'base64').subarray(1)
const TEXT =
  "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
const NOTE = `${TEXT}\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n`

const privateKey = createPrivateKey({
  key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), SEED]),
  format: 'der',
  type: 'pkcs8',
})
const peter = parseVerifierKey(VKEY)
const bytes = (text: string): Uint8Array => Buffer.from(text)

test('the example of the reference implementation is signed and verified alike', () => {
  expect(signNote(TEXT, { name: 'PeterNeumann', privateKey })).toBe(NOTE)
  expect(encodeVerifierKey('PeterNeumann', privateKey)).toBe(VKEY)
  expect(encodeVerifierKey('PeterNeumann', peter.publicKey)).toBe(VKEY)
  expect(verifyNote(bytes(NOTE), peter)).toBe(TEXT)
})

test('the examples of the specifications parse', () => {
  const checkpoint = parseNote(
    bytes(
      'example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n',
    ),
  )
  expect(parseCheckpoint(checkpoint.text)).toMatchObject({
    origin: 'example.com/behind-the-sofa',
    size: 20_852_163n,
  })
  const poem =
    'Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n'
  expect(parseNote(bytes(poem)).text).toMatch(/:\n\ned è subito sera\.\n$/)
})

test('signatures of strangers are ignored, a wrong one of the known key is not', () => {
  const { privateKey: other } = generateKeyPairSync('ed25519')
  const stranger = signNote(TEXT, { name: 'PeterNeumann', privateKey: other }).slice(TEXT.length + 1)
  expect(verifyNote(bytes(NOTE + stranger), peter)).toBe(TEXT)
  const wrong = signNote('another\n', { name: 'PeterNeumann', privateKey }).slice('another\n\n'.length)
  for (const note of [NOTE + wrong, `${TEXT}\n${wrong}`, `${TEXT}\n${stranger}`]) {
    expect(() => verifyNote(bytes(note), peter)).toThrow(
      expect.objectContaining({ code: 'AUDIT_BAD_SIGNATURE' }),
    )
  }
})

test('no byte of a note can be changed', () => {
  fc.assert(
    fc.property(fc.nat(Buffer.byteLength(NOTE) - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
      const changed = Buffer.from(NOTE)
      changed[at]! ^= mask
      expect(() => verifyNote(changed, peter)).toThrow(AuditError)
    }),
    { numRuns: 500 },
  )
})

test('no part of a vkey is a vkey, and none with a changed character', () => {
  for (let start = 0; start < VKEY.length; start++) {
    for (let end = start + 1; end <= VKEY.length; end++) {
      if (end - start < VKEY.length)
        expect(() => parseVerifierKey(VKEY.slice(start, end))).toThrow(AuditError)
    }
    const next = String.fromCharCode(VKEY.charCodeAt(start) + 1)
    expect(() => parseVerifierKey(VKEY.slice(0, start) + next + VKEY.slice(start + 1))).toThrow(AuditError)
  }
})

test('malformed notes are refused', () => {
  const signature = NOTE.slice(TEXT.length + 1)
  const malformed = [
    '',
    '\n\n',
    TEXT,
    `${TEXT}\n`,
    NOTE.slice(0, -1),
    NOTE.replace('—', '-'),
    NOTE.replace('AM=', 'AN='),
    `${TEXT}\n— a+b AAAAAAAA\n`,
    `${TEXT}\n— ab AAAA\n`,
    `a\tb\n\n${signature}`,
    `${'x'.repeat(MAX_NOTE_BYTES)}\n\n${signature}`,
  ]
  for (const note of malformed) {
    expect(() => parseNote(bytes(note)), note.slice(0, 80)).toThrow(
      expect.objectContaining({ code: 'AUDIT_BAD_NOTE' }),
    )
  }
})

test('a checkpoint that was signed is opened by its own key only', () => {
  fc.assert(
    fc.property(
      fc.bigInt({ min: 0n, max: (1n << 63n) - 1n }),
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      (size, root) => {
        const note = bytes(signCheckpoint({ size, root }, { name: 'PeterNeumann', privateKey }))
        expect(openCheckpoint(note, peter)).toEqual({ origin: 'PeterNeumann', size, root: Buffer.from(root) })
        expect(() => openCheckpoint(note, parseVerifierKey(encodeVerifierKey('Other', privateKey)))).toThrow(
          AuditError,
        )
      },
    ),
    { numRuns: 30 },
  )
  const foreign = signNote(`other\n0\n${Buffer.alloc(32).toString('base64')}\n`, {
    name: 'PeterNeumann',
    privateKey,
  })
  expect(() => openCheckpoint(bytes(foreign), peter)).toThrow(
    expect.objectContaining({ code: 'AUDIT_BAD_CHECKPOINT' }),
  )
})

test('malformed checkpoints are refused, extension lines are not', () => {
  const root = Buffer.alloc(32).toString('base64')
  expect(parseCheckpoint(`log\n7\n${root}\nextension\n`)).toMatchObject({ size: 7n })
  const malformed = [
    `\n7\n${root}\n`,
    `log\n07\n${root}\n`,
    `log\n-7\n${root}\n`,
    `log\n9223372036854775808\n${root}\n`,
    `log\n7\n${root}`,
    `log\n7\n${root.slice(4)}\n`,
    `log\n7\n${root}\n\nextension\n`,
  ]
  for (const text of malformed) expect(() => parseCheckpoint(text), text).toThrow(AuditError)
})

test('arbitrary bytes are a note, a key or a checkpoint, or are refused with a code', () => {
  const decoders: ((input: Uint8Array) => unknown)[] = [
    parseNote,
    (input) => parseVerifierKey(Buffer.from(input).toString()),
    (input) => parseCheckpoint(Buffer.from(input).toString()),
    (input) =>
      parseNote(
        Buffer.concat([bytes(`${TEXT}\n— a `), bytes(Buffer.from(input).toString('base64')), bytes('\n')]),
      ),
  ]
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.constantFrom(...decoders), (input, decode) => {
      try {
        decode(input)
      } catch (error) {
        expect(error).toBeInstanceOf(AuditError)
      }
    }),
    { numRuns: 1000 },
  )
})
