import { Worker } from 'node:worker_threads'
import { type CompiledPolicy, compilePolicy, PolicyError, type PolicyErrorCode } from '#core/policy/index.ts'

/** Beginning a thread takes longer than to compile what is no longer than this. */
const shortLength = 16 * 1024

type Answer =
  | { readonly compiled: CompiledPolicy }
  | {
      readonly refused: {
        readonly code: PolicyErrorCode
        readonly problem: string
        readonly line: number
        readonly column: number
        readonly remedy: string
      }
    }

/**
 * Compiles a policy beside everything else: a long one takes seconds. Its thread ends with it.
 *
 * @throws {PolicyError} as `compilePolicy` does
 */
export async function compileApart(text: string): Promise<CompiledPolicy> {
  if (text.length <= shortLength) return compilePolicy(text)
  const answer = await new Promise<Answer>((resolve, reject) => {
    new Worker(new URL('./worker.ts', import.meta.url), { workerData: text })
      .once('message', resolve)
      .once('error', reject)
      .once('exit', () => reject(new Error('the thread that compiles a policy has ended')))
  })
  if ('compiled' in answer) return answer.compiled
  const { code, problem, line, column, remedy } = answer.refused
  throw new PolicyError(code, problem, { line, column }, { remedy })
}
