import { generateKeyPairSync } from 'node:crypto'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { claimNames } from '#core/trust/index.ts'
import { EvidenceError } from './evidence-error.ts'
import {
  type EvidenceStatement,
  makeEvidence,
  maxDetailChars,
  maxObservations,
  verifyEvidence,
} from './statement.ts'

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const other = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const bytes32 = 'A'.repeat(43)
const statement: EvidenceStatement = {
  endpoint: 'e1',
  site: 's1',
  nonce: bytes32,
  sequence: 1,
  at: 1_800_000_000_000,
  exporter: bytes32,
  observations: [{ claim: 'endpoint.antivirus', value: 'on', collector: 'clamd', detail: 'it answers' }],
}
const codeOf = (deed: () => unknown): string => {
  try {
    deed()
  } catch (error) {
    if (error instanceof EvidenceError) return error.code
    throw error
  }
  return 'none'
}
const verified = (value: object, key = privateKey): string =>
  codeOf(() => verifyEvidence(makeEvidence(value as EvidenceStatement, key), 'e1', [publicKey]))

const anyStatement = fc.record(
  {
    endpoint: fc.constant('e1'),
    site: fc.string({ maxLength: 64 }),
    nonce: fc.constant(bytes32),
    sequence: fc.integer({ min: 1 }),
    previous: fc.string({ maxLength: 128 }),
    at: fc.maxSafeNat(),
    exporter: fc.constant(bytes32),
    observations: fc.array(
      fc.record({
        claim: fc.constantFrom(...claimNames),
        value: fc.string({ maxLength: 64 }),
        collector: fc.string({ maxLength: 64 }),
        detail: fc.string({ maxLength: maxDetailChars }),
      }),
      { maxLength: maxObservations },
    ),
    beacon: fc.string({ maxLength: 4096 }),
  },
  {
    requiredKeys: ['endpoint', 'site', 'nonce', 'sequence', 'at', 'exporter', 'observations'],
    noNullPrototype: true,
  },
)

test('what was made is what is verified', () => {
  fc.assert(
    fc.property(anyStatement, (any) => {
      const made = any as EvidenceStatement
      expect(verifyEvidence(makeEvidence(made, privateKey), 'e1', [other.publicKey, publicKey])).toEqual(made)
    }),
    { numRuns: 50 },
  )
})

test('another key, another endpoint and a changed bit are told apart', () => {
  expect(verified(statement, other.privateKey)).toBe('EVIDENCE_FORGED')
  expect(verified({ ...statement, endpoint: 'e2' })).toBe('EVIDENCE_OTHER_ENDPOINT')
  const token = makeEvidence(statement, privateKey)
  expect(codeOf(() => verifyEvidence(token, 'e2', [publicKey]))).toBe('EVIDENCE_OTHER_ENDPOINT')
  const [header, , signature] = token.split('.')
  const better = Buffer.from(JSON.stringify({ ...statement, sequence: 2 })).toString('base64url')
  expect(codeOf(() => verifyEvidence(`${header}.${better}.${signature}`, 'e1', [publicKey]))).toBe(
    'EVIDENCE_FORGED',
  )
})

test.each([
  ['a field more', { ...statement, claims: [] }],
  ['no count', { ...statement, sequence: 0 }],
  ['a short nonce', { ...statement, nonce: 'A' }],
  ['too many observations', { ...statement, observations: Array(101).fill(statement.observations[0]) }],
  [
    'a long detail',
    { ...statement, observations: [{ ...statement.observations[0], detail: 'a'.repeat(301) }] },
  ],
  [
    'an observation with more',
    { ...statement, observations: [{ ...statement.observations[0], source: 'attested' }] },
  ],
  ['observations that are none', { ...statement, observations: [null] }],
])('%s is malformed', (_, value) => {
  expect(verified(value)).toBe('EVIDENCE_MALFORMED')
})

test('claims that the vocabulary lacks are left out', () => {
  const newer = { claim: 'endpoint.mood', value: 'good', collector: 'x', detail: '' }
  const token = makeEvidence({ ...statement, observations: [newer as never] }, privateKey)
  expect(verifyEvidence(token, 'e1', [publicKey]).observations).toEqual([])
})

test('what no log and no database takes is left out of what a collector saw', () => {
  const seen = { claim: 'endpoint.antivirus', value: 'bad\0', collector: '\u001B[1m', detail: 'cut \uD83D' }
  const token = makeEvidence({ ...statement, observations: [seen as never] }, privateKey)
  expect(verifyEvidence(token, 'e1', [publicKey]).observations).toEqual([
    { claim: 'endpoint.antivirus', value: 'bad ', collector: ' [1m', detail: 'cut \uFFFD' },
  ])
})

test('any text is a statement or a coded error', () => {
  const part = fc.oneof(
    fc.string(),
    fc.jsonValue().map((value) => Buffer.from(JSON.stringify(value)).toString('base64url')),
  )
  fc.assert(
    fc.property(fc.array(part, { maxLength: 4 }), (parts) => {
      expect(codeOf(() => verifyEvidence(parts.join('.'), 'e1', [publicKey]))).toMatch(/^EVIDENCE_/)
    }),
  )
})
