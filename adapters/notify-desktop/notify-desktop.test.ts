import { afterAll, beforeAll, expect, test } from 'vitest'
import { type DesktopBus, startDesktopBus } from './desktop-bus.rig.ts'
import { notifyDesktop } from './index.ts'

/** `games` of every Debian: notices go to another account than this process has. */
const uid = 5

let bus: DesktopBus
let address: string
beforeAll(async () => {
  bus = await startDesktopBus({ uid, gid: 60 })
  address = bus.address
})
afterAll(() => bus[Symbol.asyncDispose]())

test('a notice arrives at the desktop of its account, as plain text, and stays', async () => {
  const notice = {
    title: 'Writer was taken back from this device',
    body: 'The antivirus <b>stopped</b> & is off. Start it.',
    isCritical: true,
  }
  expect(await notifyDesktop(notice, { uid, address })).toBe('shown')
  await expect.poll(() => bus.notices()).toHaveLength(1)
  const [call] = bus.notices()
  expect(call).toContain('"Trustcast"')
  expect(call).toContain('"Writer was taken back from this device"')
  expect(call).toContain('The antivirus &lt;b&gt;stopped&lt;/b&gt; &amp; is off. Start it.')
  // Urgency 2 is critical (Desktop Notifications Specification, "Urgency Levels").
  expect(call).toMatch(/"urgency": (<byte 0x02>|2)/)
})

test('a title that looks like an option is a title', async () => {
  expect(await notifyDesktop({ title: '--help', body: 'x', isCritical: false }, { uid, address })).toBe(
    'shown',
  )
  await expect.poll(() => bus.notices().join('\n')).toContain('"--help"')
})

test("an account without a desktop is said to have none, and another account's bus lets nobody in", async () => {
  const notice = { title: 'x', body: 'x', isCritical: false }
  expect(await notifyDesktop(notice, { uid: 61_234 })).toBe('no-session')
  expect(await notifyDesktop(notice, { uid: 61_234, address })).toBe('failed')
  expect(await notifyDesktop(notice, { uid, address: 'unix:path=/nowhere/bus' })).toBe('failed')
})
