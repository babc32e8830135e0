import { compilePolicy, defaultPolicy, parsePolicyTests, runPolicyTests } from '#core/policy/index.ts'
import { usage } from '../cli-error.ts'
import { type Command, type Output, parse } from '../command.ts'
import { readText } from '../read-text.ts'

export const policy: Command = {
  synopsis: 'check FILE | test TESTS [--policy FILE]',
  summary:
    'Validate a policy, or run policy tests against one (without --policy: against the default policy). Needs no site.',
  run: async (args, out) => {
    const [action, ...rest] = args
    if (action === 'check') return check(rest, out)
    if (action === 'test') return test(rest, out)
    throw usage(`expected check or test, got ${JSON.stringify(action ?? 'nothing')}`)
  },
}

async function check(args: readonly string[], out: Output): Promise<void> {
  const { positionals } = parse(args, {}, [1, 1])
  const [file = ''] = positionals
  const compiled = compilePolicy(await readText(file))
  out.result(
    { ok: true, digest: compiled.digest, policies: [...compiled.policies.keys()] },
    () => `${file}: ${compiled.policies.size} policies, digest ${compiled.digest}`,
  )
}

async function test(args: readonly string[], out: Output): Promise<void> {
  const words = parse(args, { policy: { type: 'string' } }, [1, 1])
  const [file = ''] = words.positionals
  const own = words.text('policy')
  const compiled = compilePolicy(own === undefined ? defaultPolicy : await readText(own))
  const results = runPolicyTests(compiled, parsePolicyTests(await readText(file), file))
  const failed = results.filter((result) => result.problems.length > 0)
  if (failed.length > 0) process.exitCode = 1
  out.result({ ok: failed.length === 0, results }, () =>
    [
      ...results.map(({ name, problems }) =>
        problems.length === 0
          ? `ok    ${name}`
          : `FAIL  ${name}\n${problems.map((problem) => `      ${problem}`).join('\n')}`,
      ),
      `${results.length - failed.length} passed, ${failed.length} failed`,
    ].join('\n'),
  )
}
