import { createSecretKey, generateKeyPairSync } from 'node:crypto'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { acceptEvidence, type EvidenceExpected } from './accept-evidence.ts'
import { EvidenceError } from './evidence-error.ts'
import { advanceRatchet, type Ratchet, ratchetToken } from './ratchet.ts'
import { type EvidenceStatement, makeEvidence } from './statement.ts'

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const secret = createSecretKey(Buffer.alloc(32, 7))
const now = 1_800_000_000_000
const nonce = 'N'.repeat(42) + 'A'
const exporter = 'X'.repeat(42) + 'A'
const statement: EvidenceStatement = {
  endpoint: 'e1',
  site: 's1',
  nonce,
  sequence: 4,
  previous: ratchetToken(secret, 'e1', 3),
  at: now,
  exporter,
  observations: [],
}
const expected: EvidenceExpected = {
  endpointId: 'e1',
  siteId: 's1',
  keys: [publicKey],
  challenge: { nonce, issuedAt: now - 1_000 },
  ratchet: { sequence: 3, basis: 2 },
  secret,
  exporter,
  nowMs: now,
}
const accept = (said: Partial<EvidenceStatement> = {}, change: Partial<EvidenceExpected> = {}) =>
  acceptEvidence(makeEvidence({ ...statement, ...said }, privateKey), { ...expected, ...change })
const codeOf = (deed: () => unknown): string => {
  try {
    deed()
  } catch (error) {
    if (error instanceof EvidenceError) return error.code
    throw error
  }
  return 'accepted'
}

test('fresh evidence over its own connection is accepted', () => {
  expect(accept()).toMatchObject({
    ratchet: { sequence: 4, basis: 3 },
    seen: { clock: 'right', interception: 'none' },
  })
})

test('another connection and a wrong clock are what the site sees, not what makes it deaf', () => {
  expect(accept({ exporter: nonce }).seen.interception).toBe('detected')
  expect(accept({}, { exporter: undefined }).seen.interception).toBe('unknown')
  expect(accept({ at: now - 61_000 }).seen.clock).toBe('wrong')
  expect(accept({ at: now + 61_000 }).seen.clock).toBe('wrong')
})

test.each([
  ['EVIDENCE_OTHER_SITE', { site: 's2' }, {}],
  ['EVIDENCE_REPLAYED', { nonce: exporter }, {}],
  ['EVIDENCE_REPLAYED', {}, { challenge: undefined }],
  ['EVIDENCE_STALE', {}, { challenge: { nonce, issuedAt: now - 121_000 } }],
  ['EVIDENCE_FORKED', { sequence: 3 }, {}],
  ['EVIDENCE_FORKED', { previous: ratchetToken(secret, 'e1', 1) }, {}],
  ['EVIDENCE_FORKED', { previous: ratchetToken(secret, 'e2', 3) }, {}],
  ['EVIDENCE_FORKED', { previous: '3.aaaa' }, {}],
] as const)('%s', (code, said, change) => {
  expect(codeOf(() => accept(said, change))).toBe(code)
})

test('whoever lost the last answer, or was heard before the books were put back, goes on', () => {
  expect(codeOf(() => accept({ previous: ratchetToken(secret, 'e1', 2) }))).toBe('accepted')
  expect(codeOf(() => accept({ sequence: 10, previous: ratchetToken(secret, 'e1', 9) }))).toBe('accepted')
})

/** A machine as its disk has it. */
interface Disk {
  sequence: number
  heard: number | undefined
}

test('one machine is never taken for two, whichever answers get lost and whenever it crashes', () => {
  fc.assert(
    fc.property(fc.array(fc.boolean(), { maxLength: 40 }), (heardAnswers) => {
      let known: Ratchet | undefined
      const disk: Disk = { sequence: 0, heard: undefined }
      for (const isHeard of heardAnswers) {
        known = speak(disk, known)
        if (isHeard) disk.heard = known.sequence
      }
    }),
  )
})

test('two machines with one identity are found, at the latest when the second one speaks twice', () => {
  fc.assert(
    fc.property(fc.nat(5), fc.array(fc.boolean(), { minLength: 1, maxLength: 30 }), (before, turns) => {
      let known: Ratchet | undefined
      const disk: Disk = { sequence: 0, heard: undefined }
      const talk = (machine: Disk): void => {
        known = speak(machine, known)
        machine.heard = known.sequence
      }
      for (let i = 0; i < before; i++) talk(disk)
      const copy = { ...disk }
      let times = [0, 0]
      let isFound = false
      for (const isCopy of turns) {
        const code = codeOf(() => talk(isCopy ? copy : disk))
        if (code === 'EVIDENCE_FORKED') {
          isFound = true
          break
        }
        times = isCopy ? [times[0] ?? 0, (times[1] ?? 0) + 1] : [(times[0] ?? 0) + 1, times[1] ?? 0]
      }
      if (!isFound) expect(Math.min(...times)).toBe(0)
    }),
  )
})

test('any token gives a ratchet or a coded error', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 128 }), fc.nat(), (previous, sequence) => {
      expect(
        codeOf(() => advanceRatchet(undefined, { sequence, previous }, { secret, endpointId: 'e1' })),
      ).toBe('EVIDENCE_FORKED')
    }),
  )
})

function speak(disk: Disk, known: Ratchet | undefined): Ratchet {
  disk.sequence += 1
  const previous = disk.heard === undefined ? undefined : ratchetToken(secret, 'e1', disk.heard)
  return advanceRatchet(known, { sequence: disk.sequence, previous }, { secret, endpointId: 'e1' })
}
