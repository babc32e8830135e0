export { type CompiledPolicy, compilePolicy, type Policy } from './compile.ts'
export {
  type Decision,
  type DecisionRequest,
  decide,
  type Outcome,
  type Refusal,
  type Restriction,
  type Unavailable,
} from './decide.ts'
export { defaultPolicy } from './default-policy.ts'
export { type Explainable, explainDecision } from './explain.ts'
export { defaultObligations } from './obligations.ts'
export { PolicyError, type PolicyErrorCode } from './policy-error.ts'
export { type PolicyTest, type PolicyTestResult, parsePolicyTests, runPolicyTests } from './policy-tests.ts'
export { policySchema } from './schema.ts'
export { groupsNamed } from './scope.ts'
export type { ClaimChange, Unlock } from './unlocks.ts'
