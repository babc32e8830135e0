import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { expect, test } from 'vitest'
import type { DesiredSession } from '#core/agent/messages.ts'
import { Rig, until } from './host.rig.ts'
import { openViewer, typeUntilFile } from './rfb-person.rig.ts'

test('after kill -9 the next agent adopts what is whole and reports what is lost', async () => {
  await using rig = await Rig.prepare()
  const [whole, broken] = await runAndKill(rig, 2)
  process.kill(await rig.displayServerOf(broken.id), 'SIGKILL')

  await rig.start()
  expect(rig.reported).toMatchObject([{ id: whole.id, state: 'ready', connected: false }])

  const notice = { ...whole.notice, state: 'ready' as const }
  rig.desire({ sessions: [whole, broken].map((session) => ({ ...session, notice })) })
  expect(await rig.untilReported(broken.id, 'ended')).toMatchObject({ end: { code: 'SESSION_LOST' } })
  const viewer = await openViewer(rig, whole.id)
  expect(await typeUntilFile(rig, viewer, 'adopted', 'x')).toBe('x\n')
  // What was left of the other is gone.
  expect(await rig.displays()).toHaveLength(1)

  rig.desire({ sessions: [], tickets: [] })
  await until(() => rig.reported.length === 0)
  expect(await rig.displays()).toHaveLength(0)
})

test('an agent that stops for an update leaves its sessions to the next one', async () => {
  await using rig = await Rig.start()
  const session = rig.add()
  const viewer = await openViewer(rig, session.id)
  await rig.host.close('keep-sessions')
  expect(await until(() => viewer.closedBy)).toBe('HOST_RESTARTING')

  await rig.start()
  expect(rig.reported).toMatchObject([{ id: session.id, state: 'ready' }])
  rig.desire({ tickets: [] })
  await typeUntilFile(rig, await openViewer(rig, session.id), 'next', 'x')
})

async function runAndKill(rig: Rig, count: number): Promise<[DesiredSession, DesiredSession]> {
  const accounts = Array.from({ length: count }, () => rig.account)
  const script = join(import.meta.dirname, 'killed-host.rig.ts')
  const child = spawn(process.execPath, [script, JSON.stringify(rig.place), ...accounts], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exited = once(child, 'exit')
  try {
    const [line] = (await once(createInterface(child.stdout), 'line')) as [string]
    return JSON.parse(line) as [DesiredSession, DesiredSession]
  } finally {
    child.kill('SIGKILL')
    await exited
  }
}
