import { generateKeyPairSync } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import type { Challenge, EvidenceMessage } from '#core/agent/endpoint-messages.ts'
import { Reporter } from './reporting.ts'

function challenge(nonce: string, wantLog: boolean): Challenge {
  return { kind: 'challenge', nonce: nonce.repeat(43), wantLog, beacons: [] }
}

test('what a machine booted is told as soon as the site asks for it, and once', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'tc-reporting-'))
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
  const logs: boolean[] = []
  const sent: EvidenceMessage[] = []
  const reporter = new Reporter({
    dir,
    sources: {
      observers: [],
      quoteOver: async (_over, { withLog }) => {
        logs.push(withLog)
        return undefined
      },
    },
    send: (message) => void sent.push(message),
    log: { info: () => {}, warn: () => {} },
  })
  reporter.connected({ identity, exporter: 'A'.repeat(43) })
  reporter.receive(challenge('a', false))
  await vi.waitFor(() => expect(sent).toHaveLength(1))
  reporter.receive(challenge('b', true))
  await vi.waitFor(() => expect(sent).toHaveLength(2), 10_000)
  // It explained nothing to the site.
  reporter.receive(challenge('c', true))
  await new Promise((resolve) => setTimeout(resolve, 1_500))
  expect(logs).toEqual([false, true])
  await reporter[Symbol.asyncDispose]()
  await rm(dir, { recursive: true })
})
