import { type Command, commandGroup } from '../command.ts'

export const image: Command = commandGroup('Import, sign, publish and look after images of disks.', {
  import: async () => (await import('./image/import.ts')).importCommand,
  export: async () => (await import('./image/export.ts')).exportCommand,
  list: async () => (await import('./image/list.ts')).listCommand,
  inspect: async () => (await import('./image/inspect.ts')).inspectCommand,
  verify: async () => (await import('./image/verify.ts')).verifyCommand,
  diff: async () => (await import('./image/diff.ts')).diffCommand,
  trace: async () => (await import('./image/trace.ts')).traceCommand,
  register: async () => (await import('./image/register.ts')).registerCommand,
  root: async () => (await import('./image/root.ts')).rootCommand,
  delegate: async () => (await import('./image/delegate.ts')).delegateCommand,
  sign: async () => (await import('./image/sign.ts')).signCommand,
  publish: async () => (await import('./image/publish.ts')).publishCommand,
  promote: async () => (await import('./image/promote.ts')).promoteCommand,
  rollback: async () => (await import('./image/rollback.ts')).rollbackCommand,
  releases: async () => (await import('./image/releases.ts')).releasesCommand,
  retire: async () => (await import('./image/next-metadata.ts')).retireCommand,
  renew: async () => (await import('./image/next-metadata.ts')).renewCommand,
  withdraw: async () => (await import('./image/next-metadata.ts')).withdrawCommand,
  gc: async () => (await import('./image/gc.ts')).gcCommand,
})
