import { generateKeyPairSync } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { Challenge, EvidenceMessage } from '#core/agent/endpoint-messages.ts'
import { evidencePeriodMs } from '#core/evidence/index.ts'
import { Reporter, type ReportSources, takeNumber } from './reporting.ts'

let dir: string
let sent: EvidenceMessage[]
let warnings: string[]
let reporter: Reporter

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'tc-reporting-'))
  sent = []
  warnings = []
})
afterEach(async () => {
  vi.useRealTimers()
  await reporter[Symbol.asyncDispose]()
  await rm(dir, { recursive: true })
})

function challenge(nonce: string, wantLog = false): Challenge {
  return { kind: 'challenge', nonce: nonce.repeat(43), wantLog, beacons: [] }
}

function connect(sources: ReportSources): void {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const identity = {
    kind: 'endpoint' as const,
    id: 'e1',
    siteId: 's1',
    agentUrl: 'https://site.example',
    rootPem: '',
    chainPem: '',
    privateKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  }
  reporter = new Reporter({
    dir,
    sources,
    send: (message) => void sent.push(message),
    log: { info: () => {}, warn: (_, message) => void warnings.push(message) },
  })
  reporter.connected({ identity, exporter: 'A'.repeat(43) })
}

/** Files are written in real time, whatever the timers of a test say. */
const realTimeout = setTimeout
async function untilSaid(count: number): Promise<void> {
  while (sent.length < count) await new Promise((resolve) => realTimeout(resolve, 5))
}
async function nothingMore(count: number): Promise<void> {
  await new Promise((resolve) => realTimeout(resolve, 300))
  expect(sent).toHaveLength(count)
}

test('what a machine booted is told as soon as the site asks for it, and once', async () => {
  const logs: boolean[] = []
  connect({
    observers: [],
    quoteOver: async (_over, { withLog }) => {
      logs.push(withLog)
      return undefined
    },
  })
  reporter.receive(challenge('a', false))
  await vi.waitFor(() => expect(sent).toHaveLength(1))
  reporter.receive(challenge('b', true))
  await vi.waitFor(() => expect(sent).toHaveLength(2), 10_000)
  // It explained nothing to the site.
  reporter.receive(challenge('c', true))
  await new Promise((resolve) => setTimeout(resolve, 1_500))
  expect(logs).toEqual([false, true])
})

test('what could not be stated is stated over the same challenge: the site gives no other before it is answered', async () => {
  let failures = 2
  connect({
    observers: [],
    // As a TPM just after a machine woke up.
    quoteOver: async () => {
      if (failures-- > 0) throw new Error('the TPM is busy')
      return undefined
    },
  })
  reporter.receive(challenge('a'))
  await vi.waitFor(() => expect(sent).toHaveLength(1), 10_000)
  expect([failures, warnings]).toEqual([-1, ['this device could not state its evidence']])
  expect(reporter.trouble).toBeUndefined()
})

test('what a TPM does not sign for long is stated without it, and the person is told what to do', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  const remedy = 'Wait, or reset the lockout.'
  let isLocked = true
  connect({
    observers: [],
    quoteOver: async () => {
      if (isLocked) throw Object.assign(new Error('it is locked'), { remedy })
      return undefined
    },
  })
  reporter.receive(challenge('a'))
  while (sent.length === 0) {
    await vi.advanceTimersByTimeAsync(500)
    await new Promise((resolve) => realTimeout(resolve, 5))
  }
  expect(performance.now()).toBeGreaterThan(30_000)
  const message = 'this device states its evidence without its TPM: it is locked'
  expect(reporter.trouble).toEqual({ message, remedy })
  isLocked = false
  reporter.receive(challenge('b'))
  await vi.advanceTimersByTimeAsync(evidencePeriodMs)
  await untilSaid(2)
  expect(reporter.trouble).toBeUndefined()
})

test('that the disk is full is said, and that room is to be made', async () => {
  const full = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
  connect({ observers: [], askBeacon: async () => Promise.reject(full) })
  reporter.receive({
    ...challenge('a'),
    beacons: [{ zone: 'office', url: 'tls://beacon.example:1', key: 'A'.repeat(43) }],
  })
  await vi.waitFor(() => expect(reporter.trouble?.remedy).toBe('Make room on the disk of this device.'))
})

test('a count that a disk has damaged is said to be, with what to do; what is removed begins anew', async () => {
  const path = join(dir, 'evidence.json')
  connect({ observers: [] })
  for (const text of ['', '{"sequence":', '{"sequence":-1}']) {
    await writeFile(path, text)
    const remedy = expect.stringContaining('remove it') as string
    await expect(takeNumber(dir, undefined)).rejects.toMatchObject({ code: 'AGENT_COUNT_DAMAGED', remedy })
  }
  reporter.receive(challenge('a'))
  await vi.waitFor(() => expect(warnings).toHaveLength(1))
  await rm(path)
  await vi.waitFor(() => expect(sent).toHaveLength(1), 10_000)
})

test('evidence is said each minute without a cause, and at once when something changes', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  let change: (() => void) | undefined
  const observer = {
    collected: Promise.resolve(),
    latest: () => [],
    onChange: (listener: () => void) => {
      change = listener
      return () => {}
    },
  }
  connect({ observers: [observer] })
  reporter.receive(challenge('a'))
  await vi.advanceTimersByTimeAsync(0)
  await untilSaid(1)
  reporter.receive(challenge('b'))
  await vi.advanceTimersByTimeAsync(evidencePeriodMs - 1)
  await nothingMore(1)
  await vi.advanceTimersByTimeAsync(1)
  await untilSaid(2)
  reporter.receive(challenge('c'))
  await vi.advanceTimersByTimeAsync(evidencePeriodMs / 6)
  change?.()
  await vi.advanceTimersByTimeAsync(0)
  await untilSaid(3)
  // Without another challenge nothing is said: it could be used again.
  change?.()
  await vi.advanceTimersByTimeAsync(2 * evidencePeriodMs)
  await nothingMore(3)
})
