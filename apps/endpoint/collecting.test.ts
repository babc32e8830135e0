import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, onTestFinished, test, vi } from 'vitest'
import { makeClamd } from '#adapters/evidence-linux/clamd.rig.ts'
import { worstOf } from '#core/posture/index.ts'
import { createCollecting } from './collecting.ts'
import { endpointCollectors, readPostureRules } from './collectors.ts'

const log = { info: vi.fn(), warn: vi.fn() }

async function rigged(): Promise<{ clamd: Awaited<ReturnType<typeof makeClamd>>; rules: string }> {
  const dir = await mkdtemp(join(tmpdir(), 'trustcast-collecting-'))
  const clamd = await makeClamd(dir)
  onTestFinished(async () => {
    await clamd[Symbol.asyncDispose]()
    await rm(dir, { recursive: true, force: true })
  })
  const rules = join(dir, 'posture.yaml')
  await writeFile(
    rules,
    `clamdConfiguration: ${clamd.configuration}\nedr:\n  - name: Example Sensor\n    process: no-such-sensor\n`,
  )
  return { clamd, rules }
}

test('an endpoint notices of itself that its antivirus ends and begins', { timeout: 180_000 }, async () => {
  const { clamd, rules } = await rigged()
  await clamd.start()
  const collectors = await endpointCollectors(await readPostureRules(rules))
  await using made = createCollecting({ collectors, everyMs: 60 * 60_000, log })
  await made.collected
  const antivirus = (): string | undefined =>
    worstOf(made.latest()).find(({ claim }) => claim === 'endpoint.antivirus')?.value
  await expect.poll(antivirus).toBe('on')

  const told = vi.fn()
  made.onChange(told)
  await clamd.stop()
  await expect.poll(antivirus).toBe('off')
  await expect.poll(() => told.mock.calls.length).toBeGreaterThan(0)
  await clamd.start()
  await expect.poll(antivirus).toBe('on')
})

test('trustcast posture tells every observation, and what it is worth without a site', {
  timeout: 180_000,
}, async () => {
  const { clamd, rules } = await rigged()
  await clamd.start()
  const program = fileURLToPath(new URL('../../trustcast', import.meta.url))
  const env = { ...process.env, TRUSTCAST_LOGIN: join(tmpdir(), 'no-such-login.json') }
  const ask = async (...words: string[]): Promise<string> =>
    (await promisify(execFile)(program, ['posture', '--rules', rules, ...words], { env })).stdout
  const { observations, siteAbsent } = JSON.parse(await ask('--json'))
  expect(siteAbsent).toMatch(/signed in/)
  expect(observations).toContainEqual({
    claim: 'endpoint.antivirus',
    value: 'on',
    collector: 'clamd',
    detail: expect.stringMatching(/^ClamAV .* runs, signatures 0 days old$/),
  })
  expect(observations).toContainEqual(
    expect.objectContaining({ claim: 'endpoint.edr', value: 'off', detail: 'not running: Example Sensor' }),
  )
  const text = await ask()
  expect(text).toContain('clamd, now: on. ClamAV')
  expect(text).toContain('self: can only lower trust')
  expect(text).toContain('Start the threat detection agent on this device.')
})

test('a rules file that is none is refused by its line', async () => {
  const { rules } = await rigged()
  await writeFile(rules, 'edr:\n  - name: Sensor\n')
  await expect(readPostureRules(rules)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  await expect(readPostureRules(`${rules}.none`)).rejects.toThrow('ENOENT')
})
