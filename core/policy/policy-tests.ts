import { z } from 'zod'
import { parseConfig } from '#core/config/parse-config.ts'
import {
  type Claim,
  claimSources,
  claimVocabulary,
  deliveryModes,
  isClaimName,
  rights,
  trustContext,
  zoneKinds,
} from '#core/trust/index.ts'
import type { CompiledPolicy } from './compile.ts'
import { type Decision, decide } from './decide.ts'

const claim = z.union([z.string(), z.strictObject({ value: z.string(), source: z.enum(claimSources) })])

const policyTest = z.strictObject({
  name: z.string(),
  groups: z.array(z.string()),
  zone: z.enum(zoneKinds),
  /** Claim name to value, or to value and source; a plain value comes from the source that ordinarily proves it. */
  claims: z
    .record(z.string(), claim)
    .refine((claims) => Object.keys(claims).every(isClaimName), 'a claim that the vocabulary lacks')
    .default({}),
  workspace: z.string().default('any'),
  collections: z.array(z.string()).default([]),
  /** In the workspace's order of preference. */
  modes: z.array(z.enum(deliveryModes)).default([...deliveryModes]),
  expect: z.strictObject({
    /** The mode that is chosen, or `none`. */
    mode: z.enum([...deliveryModes, 'none']),
    rights: z.array(z.enum(rights)).optional(),
    watermark: z.boolean().optional(),
    /** The code with which modes before the chosen one are refused. */
    refused: z
      .partialRecord(z.enum(deliveryModes), z.enum(['POLICY_FORBIDS', 'POLICY_NO_PERMIT', 'POLICY_ERROR']))
      .optional(),
    /** Claims of the first unlock of the given mode. */
    unlocks: z.partialRecord(z.enum(deliveryModes), z.array(z.string())).optional(),
  }),
})
const policyTestFile = z.strictObject({ tests: z.array(policyTest).min(1).max(10_000) })
export type PolicyTest = z.infer<typeof policyTest>

export interface PolicyTestResult {
  readonly name: string
  /** Empty when the policy does what the test expects. */
  readonly problems: readonly string[]
}

/** @throws {ConfigError} with the line of what is wrong */
export function parsePolicyTests(text: string, fileName: string): readonly PolicyTest[] {
  return parseConfig(text, policyTestFile, fileName).tests
}

/** Runs each test as if every mode could be delivered. */
export function runPolicyTests(
  policy: CompiledPolicy,
  tests: readonly PolicyTest[],
): readonly PolicyTestResult[] {
  return tests.map((test) => ({ name: test.name, problems: problemsOf(test, decideTest(policy, test)) }))
}

function decideTest(policy: CompiledPolicy, test: PolicyTest): Decision {
  const now = 0
  const claims = Object.entries(test.claims).map(([name, given]): Claim => {
    const source = isClaimName(name) ? claimVocabulary[name].provenBy : 'self'
    return typeof given === 'string'
      ? { name, value: given, source, observedAt: now }
      : { name, ...given, observedAt: now }
  })
  const context = trustContext({
    person: { id: 'somebody', groups: test.groups },
    claims,
    zone: { name: test.zone, kind: test.zone },
    now,
  })
  const workspace = { id: test.workspace, collections: test.collections, modes: test.modes }
  return decide(policy, { context, workspace, available: () => undefined })
}

function problemsOf({ expect }: PolicyTest, { outcome, refused }: Decision): readonly string[] {
  const problems: string[] = []
  const differ = (what: string, expected: unknown, found: unknown): void => {
    if (JSON.stringify(expected) !== JSON.stringify(found))
      problems.push(`${what}: expected ${JSON.stringify(expected)}, found ${JSON.stringify(found)}`)
  }
  differ('mode', expect.mode, outcome?.mode ?? 'none')
  if (expect.rights !== undefined)
    differ('rights', expect.rights.toSorted(), outcome?.rights.toSorted() ?? [])
  if (expect.watermark !== undefined) differ('watermark', expect.watermark, outcome?.obligations.watermark)
  for (const [mode, code] of Object.entries(expect.refused ?? {}))
    differ(`refusal of ${mode}`, code, refused.find((refusal) => refusal.mode === mode)?.code)
  for (const [mode, claims] of Object.entries(expect.unlocks ?? {})) {
    const unlock = refused.find((refusal) => refusal.mode === mode)?.unlocks[0]
    differ(`unlock of ${mode}`, claims?.toSorted(), unlock?.changes.map((change) => change.claim).toSorted())
  }
  return problems
}
