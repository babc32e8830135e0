import type { Cgroups } from './cgroup.ts'
import type { Namespaces } from './namespaces.ts'

/** Where an agent's display server says what it does; a pino logger fits. */
export interface DisplayLog {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
}

/** What every part of one display server shares. */
export interface Context {
  readonly runDir: string
  readonly homesDir: string
  /** Configuration of the desktop, readable by everybody. */
  readonly desktop: string
  readonly cgroups: Cgroups
  readonly namespaces: Namespaces
  readonly log: DisplayLog
  /** Ids of the displays that this agent holds; any other in its run directory is a dead agent's. */
  readonly displays: Set<string>
  /** Aborted when the agent lets go of its sessions without ending them. */
  readonly closing: AbortSignal
}
