import { parentPort, workerData } from 'node:worker_threads'
// A thread loads what it imports anew: no more than it needs.
import { compilePolicy } from '#core/policy/compile.ts'
import { PolicyError } from '#core/policy/policy-error.ts'

/** The thread of `compileApart`: one text comes in, what it compiles to or what is wrong with it goes out. */

try {
  parentPort?.postMessage({ compiled: compilePolicy(String(workerData)) }, [])
} catch (error) {
  if (!(error instanceof PolicyError)) throw error
  const { code, problem, line, column, remedy } = error
  parentPort?.postMessage({ refused: { code, problem, line, column, remedy } }, [])
}
