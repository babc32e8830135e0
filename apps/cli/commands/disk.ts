import { type Command, commandGroup } from '../command.ts'

export const disk: Command = commandGroup('Attach images as disks of this machine, and look after them.', {
  attach: async () => (await import('./disk/attach.ts')).attachCommand,
  list: async () => (await import('./disk/attached.ts')).list,
  stats: async () => (await import('./disk/attached.ts')).stats,
  detach: async () => (await import('./disk/attached.ts')).detach,
})
