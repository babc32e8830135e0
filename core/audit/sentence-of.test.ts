import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { AUDIT_KINDS } from './leaf.ts'
import { sentenceOf, type ToldEntry } from './sentence-of.ts'

const names = { p1: 'Nora Lind', e1: 'laptop-7', h1: 'host-1', a1: 'Ada Berg' }
const nora = { type: 'person', id: 'p1' }
const system = { type: 'system', id: 'trust' }

test.each<[string, ToldEntry, string]>([
  [
    'a launch on an endpoint',
    {
      kind: 'session-started',
      actor: nora,
      subject: 's1',
      data: { endpoint: 'e1', workspace: 'lab', mode: 'streamed-disk', image: 'office', version: '3' },
    },
    'Nora Lind opened lab on laptop-7, streamed disk from office:3.',
  ],
  [
    'a launch on a host',
    {
      kind: 'session-started',
      actor: nora,
      subject: 's1',
      data: { host: 'h1', workspace: 'lab', mode: 'hosted-shared' },
    },
    'Nora Lind opened lab on host host-1, hosted shared.',
  ],
  [
    'a key that goes out',
    {
      kind: 'key-released',
      actor: nora,
      subject: 'l1',
      data: { endpoint: 'e1', image: 'office', version: '3', overlay: 'keep' },
    },
    'The key of office:3 went to laptop-7, sealed, for Nora Lind; what is written is kept.',
  ],
  [
    'a release that is proposed',
    {
      kind: 'release-proposed',
      actor: { type: 'admin', id: 'a1' },
      subject: 'office',
      data: { added: [{ version: '2', contentVersion: '2' }], retired: [] },
    },
    'Ada Berg proposed office:2.',
  ],
  [
    'a signature on a rollback',
    {
      kind: 'release-signed',
      actor: nora,
      subject: 'office',
      data: { added: [{ version: '3', contentVersion: '1' }], retired: [] },
    },
    'Nora Lind brought a signature on office:3, again the image of 1.',
  ],
  [
    'a retirement that is proposed',
    {
      kind: 'release-proposed',
      actor: { type: 'admin', id: 'a1' },
      subject: 'office',
      data: { added: [], retired: [{ version: '1' }] },
    },
    'Ada Berg proposed the retirement of office:1.',
  ],
  [
    'a channel that changes for everybody',
    {
      kind: 'channel-changed',
      actor: { type: 'admin', id: 'a1' },
      subject: 'office:production',
      data: { image: 'office', channel: 'production', current: '2' },
    },
    'Ada Berg pointed office:production at 2.',
  ],
  [
    'a wave',
    {
      kind: 'channel-changed',
      actor: { type: 'admin', id: 'a1' },
      subject: 'office:production',
      data: { current: '2', next: '3', percent: 5, groups: ['pilots', 'ward'], endpoints: [] },
    },
    'Ada Berg pointed office:production at 3 for the groups pilots, ward and 5 % of the endpoints; the others stay at 2.',
  ],
  [
    'what is published',
    {
      kind: 'release-published',
      actor: { type: 'site', id: 's' },
      data: { published: [{ role: 'snapshot' }, { role: 'timestamp' }] },
    },
    'The site published snapshot, timestamp.',
  ],
  [
    'a replica that begins',
    {
      kind: 'replica-kept',
      actor: { type: 'endpoint', id: 'e1' },
      subject: 'r1',
      data: { person: 'p1', endpoint: 'e1', image: 'office', version: '3' },
    },
    'What is written on laptop-7 for Nora Lind on office:3 is copied to the data centre, encrypted.',
  ],
  [
    'a replica that was removed',
    {
      kind: 'replica-removed',
      actor: { type: 'admin', id: 'a1' },
      subject: 'r1',
      data: { person: 'p1', image: 'office', version: '3', reason: 'She has left.' },
    },
    'Ada Berg removed the copy in the data centre of what Nora Lind wrote on office:3: She has left.',
  ],
  [
    'a lease that an admin took',
    {
      kind: 'lease-withdrawn',
      actor: { type: 'admin', id: 'a1' },
      subject: 'l1',
      data: { endpoint: 'e1', reason: 'It was stolen.' },
    },
    'Ada Berg took the key back from laptop-7: It was stolen.',
  ],
  [
    'a lease that ran out',
    {
      kind: 'lease-ended',
      actor: system,
      subject: 'l1',
      data: { endpoint: 'e1', code: 'LEASE_EXPIRED', reason: '' },
    },
    'The lease ran out: laptop-7 must have stopped by its own clock.',
  ],
  [
    'a decision that refuses',
    {
      kind: 'decision',
      actor: system,
      subject: 'p1',
      data: {
        cause: 'evidence',
        workspace: 'lab',
        mode: null,
        zone: { name: 'cafe', kind: 'hostile' },
        refused: [{ mode: 'streamed-disk', reason: 'The network is hostile' }],
      },
    },
    'Nora Lind may not use lab from zone cafe (evidence changed): The network is hostile.',
  ],
  [
    'claims that changed',
    {
      kind: 'trust-changed',
      actor: { type: 'endpoint', id: 'e1' },
      subject: 'e1',
      data: { changes: [{ claim: 'endpoint.antivirus', from: 'current', to: 'off' }] },
    },
    'What is known of laptop-7 changed: endpoint.antivirus from current to off.',
  ],
  [
    'a kind of a later version',
    { kind: 'moon-landing', actor: nora, data: {} },
    'Nora Lind did something: moon-landing.',
  ],
])('%s is told', (_, entry, sentence) => {
  expect(sentenceOf(entry, names)).toBe(sentence)
})

test('whatever an entry of any kind holds, it is one sentence', () => {
  fc.assert(
    fc.property(fc.constantFrom(...AUDIT_KINDS), fc.jsonValue(), fc.string(), (kind, data, subject) => {
      const sentence = sentenceOf({ kind, actor: system, subject, data }, names)
      expect(sentence).toMatch(/[.!?]$/)
      expect(sentence).not.toContain('undefined')
    }),
  )
})
