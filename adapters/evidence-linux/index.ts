export { type ClamdOptions, clamdCollector } from './clamd.ts'
export { type LinuxOptions, linuxCollectors } from './linux-collectors.ts'
export { type RunOptions, runCommand } from './run-command.ts'
