import { expect, test } from 'vitest'
import { ConfigError } from '#core/config/parse-config.ts'
import { compilePolicy } from './compile.ts'
import { parsePolicyTests, runPolicyTests } from './policy-tests.ts'

const policy = compilePolicy(`
  @id("hosted") permit (principal in Group::"staff", action in [Action::"data:datacenter", Action::"rights"], resource)
  when { context.endpoint.antivirus.value == "on" };`)

const file = (...lines: string[]): string =>
  ['tests:', '  - name: a test', '    groups: [staff]', '    zone: inside', ...lines].join('\n')

test('a test that the policy meets has no problems', () => {
  const tests = parsePolicyTests(
    file('    claims: { endpoint.antivirus: "on" }', '    expect: { mode: hosted-shared, watermark: false }'),
    'policy.test.yaml',
  )
  expect(runPolicyTests(policy, tests)).toEqual([{ name: 'a test', problems: [] }])
})

test('what the policy does otherwise is told, each difference by itself', () => {
  const tests = parsePolicyTests(
    file(
      '    modes: [hosted-shared]',
      '    expect:',
      '      mode: hosted-shared',
      '      rights: [input]',
      '      refused: { hosted-shared: POLICY_FORBIDS }',
      '      unlocks: { hosted-shared: [network.zone] }',
    ),
    'policy.test.yaml',
  )
  expect(runPolicyTests(policy, tests)[0]?.problems).toEqual([
    'mode: expected "hosted-shared", found "none"',
    'rights: expected ["input"], found []',
    'refusal of hosted-shared: expected "POLICY_FORBIDS", found "POLICY_NO_PERMIT"',
    'unlock of hosted-shared: expected ["network.zone"], found ["endpoint.antivirus"]',
  ])
})

test.each([
  ['an unknown word', 6, file('    expect: { mode: none }', '    expects: {}')],
  ['an unknown mode', 5, file('    expect: { mode: teleport }')],
  ['an unknown claim', 5, file('    claims: { endpoint.virus: "on" }', '    expect: { mode: none }')],
  ['no expectation', 2, file()],
  ['no tests', 1, 'tests: []'],
  ['no YAML', 1, 'tests: ['],
])('a file with %s is refused with its line', (_, line, text) => {
  expect(() => parsePolicyTests(text, 'policy.test.yaml')).toThrow(ConfigError)
  expect(() => parsePolicyTests(text, 'policy.test.yaml')).toThrow(
    new RegExp(`^policy\\.test\\.yaml:${line}:`),
  )
})
