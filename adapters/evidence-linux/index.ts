export { type LinuxOptions, linuxCollectors } from './linux-collectors.ts'
export { type RunOptions, runCommand } from './run-command.ts'
