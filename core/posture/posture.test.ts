import { expect, test } from 'vitest'
import {
  atMostEvery,
  defaultRules,
  isOf,
  judgePrograms,
  maxDetailChars,
  observe,
  postureRules,
  probing,
  worstOf,
} from './index.ts'

const sensor = { pid: 9, parent: 1, name: 'sensor', executable: '/opt/example/bin/sensor' }

test.each([
  [{ name: 'x', process: 'sensor' }, true],
  [{ name: 'x', process: 'sens*' }, true],
  [{ name: 'x', process: '*s*r' }, true],
  [{ name: 'x', process: 'senso' }, false],
  [{ name: 'x', process: '*sensor*sensor' }, false],
  [{ name: 'x', process: '/opt/example/*' }, true],
  [{ name: 'x', process: '/usr/*' }, false],
  [{ name: 'x', unit: 'sensor.service' }, false],
])('the rule %j names the process: %s', (rule, is) => {
  expect(isOf(sensor, rule)).toBe(is)
})

test('a unit and a process of one rule have to be of the same process', () => {
  const rule = { name: 'Sensor', process: 'sensor', unit: 'sensor.service' }
  expect(isOf({ ...sensor, group: '/system.slice/sensor.service' }, rule)).toBe(true)
  expect(isOf({ ...sensor, group: '/system.slice/other.service' }, rule)).toBe(false)
  const own = '/user.slice/user-1000.slice/user@1000.service/app.slice/sensor.service'
  expect(isOf({ ...sensor, group: own }, rule)).toBe(false)
})

test('a program that was replaced on disk while it runs is still that program', () => {
  const replaced = { ...sensor, executable: `${sensor.executable} (deleted)` }
  expect(isOf(replaced, { name: 'x', process: 'sensor' })).toBe(true)
})

test('every program that the rules name has to run', () => {
  const rules = [
    { name: 'Sensor', process: 'sensor' },
    { name: 'Other', process: 'other' },
  ]
  const [off] = judgePrograms('endpoint.edr', rules, [sensor], 'programs')
  expect(off).toMatchObject({ value: 'off', detail: 'not running: Other' })
  expect(judgePrograms('endpoint.edr', rules.slice(0, 1), [sensor], 'programs')[0]?.value).toBe('on')
  expect(judgePrograms('endpoint.edr', [], [sensor], 'programs')).toEqual([])
})

test('of collectors that disagree the worse counts, whoever cannot tell does not', () => {
  const seen = ['on', 'unknown', 'off', 'on'].map((value, index) =>
    observe('endpoint.firewall', value, `collector-${index}`, ''),
  )
  expect(worstOf(seen)).toMatchObject([{ value: 'off', collector: 'collector-2' }])
  expect(worstOf(seen.slice(0, 2))).toMatchObject([{ value: 'on' }])
  expect(worstOf(seen.slice(1, 2))).toMatchObject([{ value: 'unknown' }])
})

test('an observation keeps to the vocabulary, to one line and to its length', () => {
  const { value, detail } = observe('endpoint.edr', 'splendid', 'x', `a\n\u001b[31mb${'c'.repeat(9999)}`)
  expect(value).toBe('unknown')
  expect(detail).toMatch(/^a \[31mbc+…$/)
  expect(detail.length).toBe(maxDetailChars)
})

test('rules name programs by process or unit, and nothing else is taken', () => {
  expect(postureRules.parse({})).toEqual(defaultRules)
  expect(postureRules.safeParse({ edr: [{ name: 'Sensor' }] }).success).toBe(false)
  expect(postureRules.safeParse({ ed: [] }).success).toBe(false)
  expect(postureRules.parse({ limits: { updateGraceDays: 30 } }).limits).toEqual({
    ...defaultRules.limits,
    updateGraceDays: 30,
  })
})

test('a command without an answer leaves its claims unknown', async () => {
  const collector = probing(
    { name: 'x', claims: ['endpoint.edr'], command: ['nothing'], judge: () => [] },
    async () => ({ status: undefined, stdout: '', stderr: '' }),
    () => ({ rules: defaultRules, now: 0 }),
  )
  expect(await collector.collect(new AbortController().signal)).toMatchObject([{ value: 'unknown' }])
})

test('what is costly is looked at again only after its period, and after a failure', async () => {
  let now = 0
  let looks = 0
  const collector = atMostEvery(
    1000,
    {
      name: 'x',
      claims: ['endpoint.edr'],
      collect: async () => {
        looks += 1
        if (looks === 1) throw new Error('not yet')
        return []
      },
    },
    () => now,
  )
  const { signal } = new AbortController()
  await expect(collector.collect(signal)).rejects.toThrow('not yet')
  for (now of [0, 999, 1000, 1500]) await collector.collect(signal)
  expect(looks).toBe(3)
})
