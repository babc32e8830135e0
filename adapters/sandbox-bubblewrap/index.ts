export { endSandboxesOn } from './end-left.ts'
export { runInSandbox, type SandboxEnd, type SandboxRequest } from './run-in-sandbox.ts'
