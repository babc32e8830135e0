import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, onTestFinished, test, vi } from 'vitest'
import { z } from 'zod'
import { makeClamd } from '#adapters/evidence-linux/clamd.rig.ts'
import { worstOf } from '#core/posture/index.ts'
import { isClaimName } from '#core/trust/index.ts'
import { createCollecting } from './collecting.ts'
import { endpointCollectors, readPostureRules } from './collectors.ts'
import { makeOsqueryi } from './osqueryi.rig.ts'

const observation = z.object({
  claim: z.string().refine(isClaimName),
  value: z.string(),
  collector: z.string(),
  detail: z.string(),
})
const log = { info: vi.fn(), warn: vi.fn() }

async function rigged(): Promise<{
  clamd: Awaited<ReturnType<typeof makeClamd>>
  dir: string
  rules: string
}> {
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
  return { clamd, dir, rules }
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

test('osquery takes a second look where it is installed, and the worse of two counts', {
  timeout: 180_000,
}, async () => {
  const { dir, rules } = await rigged()
  const folder = await makeOsqueryi(dir, {
    secureboot: [{ secure_boot: 1, setup_mode: 0 }, { secure_boot: -1 }, { setup_mode: -1 }],
    processes: [
      { pid: 4711, parent: 1, name: 'sensor', path: '/opt/sensor/no-such-sensor', cgroup_path: '/' },
    ],
  })
  const program = fileURLToPath(new URL('../../trustcast', import.meta.url))
  // There it is looked for, in a mount namespace of its own.
  const inPlace = [
    '--mount',
    '--propagation',
    'slave',
    'sh',
    '-c',
    'mount --bind "$0" /usr/local/sbin && exec "$@"',
    folder,
  ]
  const env = { ...process.env, TRUSTCAST_LOGIN: join(tmpdir(), 'no-such-login.json') }
  const words = [...inPlace, program, 'posture', '--rules', rules, '--json']
  const { stdout } = await promisify(execFile)('unshare', words, { env })
  const { observations } = z.object({ observations: z.array(observation) }).parse(JSON.parse(stdout))
  const byOsquery = observations.filter(({ collector }) => collector === 'osquery')
  expect(byOsquery.map(({ claim, value, detail }) => `${claim} ${value}: ${detail}`)).toEqual([
    'endpoint.secureBoot on: Secure Boot: on',
    'endpoint.edr on: running: Example Sensor',
  ])
  // Our own look does not find that sensor.
  const edr = worstOf(observations).find(({ claim }) => claim === 'endpoint.edr')
  expect(edr).toMatchObject({ value: 'off', collector: 'programs' })
})

test('a rules file that is none is refused by its line', async () => {
  const { rules } = await rigged()
  await writeFile(rules, 'edr:\n  - name: Sensor\n')
  await expect(readPostureRules(rules)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  await expect(readPostureRules(`${rules}.none`)).rejects.toThrow('ENOENT')
})
