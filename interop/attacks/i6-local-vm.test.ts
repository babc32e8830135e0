import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { readVms } from '#apps/endpoint/vm/vm-record.ts'
import { type Account, callAs, games, nobody } from '../as-account.rig.ts'
import { commandAs, type DeskVm, openDesk, startDeskVm } from '../desk-vm.rig.ts'
import { type RunningService, startService } from '../endpoint-service.rig.ts'

/** I6, for a virtual machine that the service of a device runs for one of its people: no other account sees it or does anything to it. */
vi.setConfig({ testTimeout: 120_000, hookTimeout: 300_000 })

let desk: DeskVm
let service: RunningService

beforeAll(async () => {
  desk = await startDeskVm()
  service = desk.service
})
afterAll(() => desk[Symbol.asyncDispose]())

test('an ordinary account of the device has an address of the portal opened, as itself', async () => {
  await openDesk(desk, games)
  expect((await commandAs(games, ['status'], service)).stdout).toContain(
    'Laboratory (local-vm) for Nora Lind',
  )
  expect((await commandAs(nobody, ['status'], service)).stdout).toContain('Nothing runs from here.')
})

test('its person looks after it from the command line, and no other account does', async () => {
  for (const words of [['suspend'], ['resume'], ['stop', '--force'], ['snapshot', 'take']]) {
    const name = words[0] === 'snapshot' ? ['mine'] : []
    const refused = await commandAs(nobody, ['vm', ...words, 'desk', ...name], service)
    expect(refused, words.join(' ')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('LOCAL_VM_UNKNOWN'),
    })
  }
  expect((await commandAs(nobody, ['vm', 'list'], service)).stdout).toContain('No VM runs here.')
  expect(await stateFor(games)).toBe('running')
  const { id } = (await readVms(service.env['TRUSTCAST_RUN'] ?? ''))[0]!
  const guessed = await callAs(nobody, 'device-socket.rig.ts', 'askSocket', [
    `${service.env['TRUSTCAST_RUN']}/endpoint.sock`,
    `/vms/${id}`,
    { suspend: true },
  ])
  expect(guessed).toMatchObject({ status: 404, answer: { code: 'LOCAL_VM_UNKNOWN' } })

  expect((await commandAs(games, ['vm', 'suspend', 'desk'], service)).stdout).toContain('Paused: Laboratory')
  expect(await stateFor(games)).toBe('suspended')
  expect((await commandAs(games, ['vm', 'resume', 'desk'], service)).stdout).toContain('Goes on: Laboratory')
  expect((await commandAs(games, ['vm', 'snapshot', 'take', 'desk', 'mine'], service)).stdout).toMatch(
    /^mine /m,
  )
  expect((await commandAs(games, ['vm', 'snapshot', 'remove', 'desk', 'mine'], service)).stdout).toContain(
    'no snapshot',
  )
  const unknown = await commandAs(games, ['vm', 'snapshot', 'return', 'desk', 'nothing'], service)
  expect(unknown.stderr).toContain('SNAPSHOT_UNKNOWN')
  expect(await stateFor(games)).toBe('running')
})

test('where one group alone may ask the service, nobody else can', async () => {
  const args = ['--port', '0', '--no-report', '--group', 'games']
  await using closed = await startService(desk.site, desk.ada, 'laptop-2', { args })
  expect((await commandAs(games, ['status'], closed)).stdout).toContain(`endpoint ${closed.id}`)
  expect(await commandAs(nobody, ['status'], closed)).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('CLI_NO_SERVICE'),
  })
})

async function stateFor(account: Account): Promise<string | undefined> {
  const { stdout } = await commandAs(account, ['vm', 'list', '--json'], service)
  return (JSON.parse(stdout) as { vms: { state: string }[] }).vms[0]?.state
}
