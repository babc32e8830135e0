import { setImmediate as turn } from 'node:timers/promises'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import type { DesiredSession } from '#core/agent/messages.ts'
import { sessionNotice } from '#core/api/person.ts'
import type { ClipboardSwitches, Display } from '#core/broker/display.ts'
import { decodeUtf8 } from '#core/bytes/index.ts'
import { createClipboardTally } from './clipboard-tally.ts'
import { clipboardOf, encodeNotice, rfbRightsOf } from './rights.ts'
import { Session } from './session.ts'

const obligations = {
  clipboardMaxBytes: 7,
  watermark: true,
  sessionMinutes: 60,
  idleMinutes: 10,
  disconnectMinutes: 5,
  leaseMinutes: 15,
  overlay: 'discard' as const,
}
const session: DesiredSession = {
  id: 'b3a1c1de-6f0b-4c52-9d3c-5be0b2a0d001',
  account: 'tc-alice',
  fullName: 'Alice Example',
  program: { kind: 'desktop' },
  width: 800,
  height: 600,
  limits: { memoryMiB: 1, processes: 1, cpuPercent: 1 },
  rights: ['clipboard-in'],
  obligations,
  endsAt: '2026-03-01T10:00:00Z',
  notice: { state: 'starting', rights: ['clipboard-in'], restrictions: [], obligations },
  frozen: false,
}

test('what was not granted is off, and the watermark says who and when', () => {
  expect(rfbRightsOf(session, Date.parse('2026-03-01T09:30:59Z'))).toEqual({
    input: false,
    clipboardIn: true,
    clipboardOut: false,
    clipboardMaxBytes: 7,
    watermark: ['Alice Example', '2026-03-01 09:30 UTC'],
  })
  expect(clipboardOf(session)).toEqual({ in: true, out: false })
  expect(clipboardOf({ ...session, frozen: true })).toEqual({ in: false, out: false })
})

test('a notice passes as the site wrote it, except that who is connected sees a session that runs', () => {
  const restriction = { right: 'input' as const, reason: 'x'.repeat(100), policies: [], unlocks: [] }
  const shown = (count: number): unknown =>
    sessionNotice.parse(
      JSON.parse(
        decodeUtf8(
          encodeNotice({ ...session.notice, restrictions: Array.from({ length: count }, () => restriction) }),
        ),
      ),
    )
  expect(shown(1)).toEqual({ ...session.notice, state: 'ready', restrictions: [restriction] })
  expect(shown(1000)).toEqual({ ...session.notice, state: 'ready', restrictions: [] })
})

test('however often the clipboard is used, the site hears one sum for each direction and outcome', () => {
  const tally = createClipboardTally(session.id)
  for (let count = 0; count < 1000; count++) tally.add('in', 2, true)
  tally.add('in', 5, false)
  tally.add('out', 1, true)
  const said = tally.take().map(({ direction, bytes, passed }) => [direction, bytes, passed])
  expect(said).toEqual([
    ['in', 2000, true],
    ['in', 5, false],
    ['out', 1, true],
  ])
  expect(tally.take()).toEqual([])
})

test("quick changes reach the display server's own switches in their order, and one that fails holds up no later one", async () => {
  const begun: { readonly allowed: ClipboardSwitches; readonly end: PromiseWithResolvers<void> }[] = []
  const display: Partial<Display> = {
    sessionId: session.id,
    ended: new Promise(() => undefined),
    async setClipboard(allowed) {
      const end = Promise.withResolvers<void>()
      begun.push({ allowed, end })
      await end.promise
    },
  }
  const around = {
    displays: undefined as never,
    log: pino({ level: 'silent' }),
    now: () => 0,
    changed: () => undefined,
    tell: () => undefined,
  }
  const one = Session.adopt(display as Display, around)
  const [on, off] = [
    { in: true, out: false },
    { in: false, out: false },
  ]
  one.apply(session)
  one.apply({ ...session, frozen: true })
  one.apply(session)
  one.apply({ ...session, frozen: true })
  await turn()
  expect(begun.map(({ allowed }) => allowed)).toEqual([on])
  begun[0]?.end.reject(new Error('it did not answer'))
  await turn()
  expect(begun.map(({ allowed }) => allowed)).toEqual([on, off])
  begun[1]?.end.resolve()
  await turn()
  one.apply({ ...session, frozen: true })
  expect(begun).toHaveLength(2)
})
