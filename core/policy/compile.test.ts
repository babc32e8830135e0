import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { trustContext } from '#core/trust/index.ts'
import { compilePolicy, maxPolicyBytes } from './compile.ts'
import { defaultPolicy } from './default-policy.ts'
import { ask } from './evaluate.ts'
import { findTooDeep } from './nesting.ts'
import { PolicyError } from './policy-error.ts'
import { groupsNamed } from './scope.ts'

const permit = (conditions: string, annotations = '@id("p")'): string =>
  `${annotations} permit (principal, action in Action::"data:datacenter", resource) when { ${conditions} };`

/** A policy after so many others that are right, one a line. */
const manyAnd = (last: string, count: number): string =>
  `${Array.from({ length: count }, (_, i) => permit('true', `@id("p${i}")`)).join('\n')}\n${last}`

test.each([
  ['POLICY_SYNTAX', 1, 19, 'permit ( principal'],
  ['POLICY_SYNTAX', 2, 75, `// ünï\n${permit('foo(1)').replace('@id("p")', '')}`],
  ['POLICY_SYNTAX', 1, 1, 'permit (principal == ?principal, action, resource);'],
  ['POLICY_INVALID', 1, 83, permit('context.endpoint.virus.value == "on"')],
  ['POLICY_INVALID', 1, 83, permit('context.endpoint.antivirus.value == 3')],
  ['POLICY_INVALID', 151, 83, `// ü\n${manyAnd(permit('context.endpoint.virus.value == "on"'), 149)}`],
  ['POLICY_INVALID', 1, 39, '@id("p") permit (principal, action == Action::"fly", resource);'],
  ['POLICY_INVALID', 1, 83, permit('context.mode == "local-vm"')],
  ['POLICY_ID', 1, 2, permit('true', '')],
  ['POLICY_ID', 1, 1, permit('true', '@id("a b")')],
  ['POLICY_ID', 2, 1, `${permit('true')}\n${permit('true')}`],
  ['POLICY_ANNOTATION', 1, 10, permit('true', '@id("p") @watermerk("true")')],
  ['POLICY_ANNOTATION', 1, 10, permit('true', '@id("p") @watermark("yes")')],
  ['POLICY_ANNOTATION', 1, 10, permit('true', '@id("p") @watermark')],
  ['POLICY_ANNOTATION', 1, 10, permit('true', '@id("p") @sessionMinutes("0")')],
  ['POLICY_ANNOTATION', 1, 10, permit('true', '@id("p") @clipboardMaxBytes("1e3")')],
  ['POLICY_ANNOTATION', 1, 10, permit('true', '@id("p") @reason("because")')],
  ['POLICY_ANNOTATION', 1, 10, '@id("p") @watermark("true") forbid (principal, action, resource);'],
  ['POLICY_CONTEXT', 1, 1, permit('context has endpoint')],
  ['POLICY_CONTEXT', 1, 1, permit('context.endpoint == context.endpoint')],
  ['POLICY_CONTEXT', 1, 1, permit('context.network.zone == context.network.vpn')],
  ['POLICY_INVALID', 1, 83, permit('ip(context.network.zone.value).isLoopback()')],
  ['POLICY_NUMBER', 1, 1, permit('context.network.zone.ageSec < 9007199254740993')],
  ['POLICY_NUMBER', 1, 1, permit('context.network.zone.ageSec > -9223372036854775808')],
  ['POLICY_TOO_DEEP', 1, 122, permit(`${'('.repeat(5000)}true${')'.repeat(5000)}`)],
  ['POLICY_TOO_DEEP', 1, 162, permit(`${'1+'.repeat(3000)}1 > 0`)],
  ['POLICY_TOO_LARGE', 1, 1, `//${'x'.repeat(maxPolicyBytes)}`],
])('a policy text is refused as %s at line %i, column %i', (code, line, column, text) => {
  expect(() => compilePolicy(text)).toThrow(PolicyError)
  try {
    compilePolicy(text)
  } catch (error) {
    expect(error).toMatchObject({ code, line, column, remedy: expect.stringMatching(/\w/) as string })
  }
})

test('a draft that would break Cedar is refused and the next policy still compiles', () => {
  const deep = ['(', '[', '{"a":', '-(', 'if true then ', '1+', '1*', 'principal.a.', '[1].contains(1).']
  for (const piece of deep) expect(() => compilePolicy(permit(piece.repeat(2000)))).toThrow(PolicyError)
  // Strings that do not end: what stands in them is not counted.
  for (const open of ['"', '"\\"', '"\\\n"'])
    expect(() => compilePolicy(permit(`${open}${'('.repeat(2000)}`))).toThrow(PolicyError)
  expect(compilePolicy(defaultPolicy).policies.size).toBeGreaterThan(10)
})

test('a draft that is wrong all over is refused at its first mistake, in proportion to its length', () => {
  const wrong = permit('context.endpoint.virus.value == "on"')
  const many = Array.from({ length: Math.floor(maxPolicyBytes / (wrong.length + 1)) }, () => wrong).join('\n')
  expect(() => compilePolicy(many)).toThrow(expect.objectContaining({ code: 'POLICY_INVALID', line: 1 }))
})

test('what stands in strings and comments, or side by side, is not deep', () => {
  const brackets = '('.repeat(1000)
  const quoted = `// ${brackets}\n"${brackets}\\"${brackets}" [${'"x.y-z",'.repeat(500)}]`
  expect(findTooDeep(quoted)).toBeUndefined()
  expect(findTooDeep('when { context.endpoint.firewall.value == "on" } '.repeat(500))).toBeUndefined()
  expect(findTooDeep(`[${'(a.b || c.d), '.repeat(500)}]`)).toBeUndefined()
  expect(findTooDeep(`${'}'.repeat(1000)}${'('.repeat(41)}`)).toBe(1040)
})

test('a draft is looked through in proportion to its length, whatever is in it', () => {
  expect(findTooDeep(`"${'\\"'.repeat(maxPolicyBytes / 2)}`)).toBeUndefined()
})

test.each([
  ['(', 'true', ')'],
  ['', 'true', ' && true'],
  ['', 'true', ' || true'],
  ['if true then ', 'true', ' else true'],
  ['[', '1', ']'],
  ['{"a": ', '1', '}'],
  ['', '1', ' + 1'],
  ['!(', 'true', ')'],
  ['true && (', 'true', ')'],
])('the deepest %j%s%j that compiles is decided', (before, core, after) => {
  const body = (depth: number): string => {
    const expression = before.repeat(depth) + core + after.repeat(depth)
    if (core === 'true') return before.startsWith('!') && depth % 2 === 1 ? `!${expression}` : expression
    return `${expression} == ${expression}`
  }
  const depths = Array.from({ length: 45 }, (_, index) => 45 - index)
  const deepest = depths.find((depth) => findTooDeep(permit(body(depth))) === undefined) ?? 0
  const person = { id: 'p', groups: [] }
  const { claims } = trustContext({ person, claims: [], zone: { name: 'a', kind: 'inside' }, now: 0 })
  const target = { id: 'w', collections: [] }
  const question = { person, claims, target, action: 'hosted-shared', mode: 'hosted-shared' } as const
  expect(deepest).toBeGreaterThan(10)
  expect(ask(compilePolicy(permit(body(deepest))), question)).toMatchObject({ allowed: true })
})

const digest = (text: string): string => compilePolicy(text).digest

test('the digest is of what the policies mean, not of how they are written', () => {
  const a = permit('context.network.vpn.value == "yes"', '@id("a")')
  const b = permit('context.network.vpn.value == "no"', '@id("b")')
  expect(digest(`${a}\n${b}`)).toMatch(/^[0-9a-f]{64}$/)
  expect(digest(`// other\n${b}\n\n  ${a.replaceAll(' ', '\n ')}`)).toBe(digest(`${a}\n${b}`))
  expect(digest(`${a}\n${b.replace('"no"', '"unknown"')}`)).not.toBe(digest(`${a}\n${b}`))
  expect(digest(`${a.replace('@id("a")', '@id("a") @watermark("true")')}\n${b}`)).not.toBe(
    digest(`${a}\n${b}`),
  )
})

test('more than ten policies keep their own text, reason and place', () => {
  const texts = Array.from(
    { length: 25 },
    (_, index) => `@id("f${index}") @reason("no ${index}") forbid (principal, action, resource);`,
  )
  const { policies } = compilePolicy(texts.join('\n'))
  expect([...policies.values()].map(({ id, reason }) => `${id} ${reason}`)).toEqual(
    texts.map((_, index) => `f${index} no ${index}`),
  )
  const broken = texts.map((text, index) => (index === 17 ? text.replace('@reason', '@reasons') : text))
  expect(() => compilePolicy(broken.join('\n'))).toThrow(
    expect.objectContaining({ code: 'POLICY_ANNOTATION', line: 18, column: 12 }),
  )
})

test('arbitrary text compiles or is refused with a position', { timeout: 30_000 }, () => {
  const words =
    'permit forbid ( ) principal action resource , ; when { } true @id("x") context . endpoint == " // é && [ ] ! if'
  const word = fc.constantFrom('\n', ...words.split(' '))
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.array(word, { maxLength: 40 }).map((all) => all.join(' ')),
  )
  fc.assert(
    fc.property(text, (text) => {
      try {
        compilePolicy(text)
      } catch (error) {
        if (!(error instanceof PolicyError)) throw error
        expect(error.line).toBeGreaterThan(0)
        expect(error.column).toBeGreaterThan(0)
      }
    }),
    { numRuns: 300 },
  )
})

test('the groups that a text names are known, wherever it names them', () => {
  const { policies } = compilePolicy(`
    @id("a") permit (principal in Group::"ward", action, resource);
    @id("b") permit (principal is Person in Group::"staff", action, resource)
      unless { principal in Group::"guests" || principal in [Group::"ward", Group::"night"] };`)
  expect(groupsNamed(policies.values())).toEqual(['guests', 'night', 'staff', 'ward'])
})
