import { expect, test } from 'vitest'
import { compilePolicy } from '#core/policy/index.ts'
import { compileApart } from './index.ts'

/** Longer than what is compiled at once. */
const rules = Array.from(
  { length: 150 },
  (_, i) => `@id("rule-${i}")
permit (principal in Group::"g${i}", action in Action::"data:datacenter", resource in Collection::"c${i}")
when { context.endpoint.diskEncryption.value == "on" && context.network.zone.value == "inside" };`,
)

test('a long policy compiles to the same beside everything else, and everything else goes on', async () => {
  let turns = 0
  const turning = setInterval(() => {
    turns += 1
  }, 1)
  const compiled = await compileApart(rules.join('\n'))
  clearInterval(turning)
  expect(turns).toBeGreaterThan(0)
  expect(compiled).toEqual(compilePolicy(rules.join('\n')))
}, 30_000)

test('what is wrong with a long policy is said as with a short one', async () => {
  const wrong = [...rules, 'permit (principal, action, resource);'].join('\n')
  const error = await compileApart(wrong).catch((error: unknown) => error)
  expect(() => compilePolicy(wrong)).toThrow((error as Error).message)
  expect(error).toMatchObject({ code: 'POLICY_ID', line: 451, column: 1, remedy: expect.any(String) })
}, 30_000)
