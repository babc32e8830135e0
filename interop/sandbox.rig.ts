/** A process that runs a command in a sandbox, so that it can be killed: `sandbox.rig.ts REQUEST`, as JSON. */
import { runInSandbox, type SandboxRequest } from '#adapters/sandbox-bubblewrap/index.ts'

const request = JSON.parse(process.argv[2] ?? '{}') as Omit<SandboxRequest, 'signal'>
const { exitCode } = await runInSandbox({ ...request, signal: new AbortController().signal })
process.exitCode = exitCode
