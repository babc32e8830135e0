import type { Server } from 'node:net'
import { askControlSocket, NoAnswer, type Parser, serveControlSocket } from '../control-socket.ts'
import { DiskError } from './disk-error.ts'
import type { DiskStats } from './disk-stats.ts'

/** How a disk was detached. */
export interface Detached {
  /** Programs still had it, or it did not answer: what they hold fails, and what was written last may be lost. */
  readonly lazily: boolean
}

/** What can be asked of the process that serves a disk. */
export interface DiskControl {
  stats(): Promise<DiskStats>
  detach(force: boolean): Promise<Detached>
}

type Request = { readonly stats: true } | { readonly detach: { readonly force: boolean } }

/** There are three, of which each has one form: a disk is served sooner without a schema. */
const request: Parser<Request> = {
  parse: (value) => {
    const known = requests.find((one) => JSON.stringify(one) === JSON.stringify(value))
    if (known === undefined) throw new TypeError('expected to be asked for figures, or to detach')
    return known
  },
}
const requests: readonly Request[] = [
  { stats: true },
  { detach: { force: false } },
  { detach: { force: true } },
]

/**
 * Answers other processes.
 *
 *     {"stats":true}              {"stats":{…}}
 *     {"detach":{"force":false}}  {"detached":{"lazily":false}}
 */
export async function serveControl(path: string, control: DiskControl): Promise<Server> {
  return serveControlSocket(path, request, async (wanted) =>
    'stats' in wanted
      ? { stats: await control.stats() }
      : { detached: await control.detach(wanted.detach.force) },
  )
}

/** The process that serves a disk, through its control socket. Calls throw what that process said, or DISK_NOT_ANSWERING. */
export function controlOf(path: string): DiskControl {
  return {
    stats: async () => {
      // Loaded by those who ask only.
      const { statsAnswer } = await import('./control-answers.ts')
      return (await ask(path, { stats: true }, statsAnswer, false)).stats
    },
    // To detach may take as long as what was written takes to be written back.
    detach: async (force) => {
      const { detachAnswer } = await import('./control-answers.ts')
      return (await ask(path, { detach: { force } }, detachAnswer, true)).detached
    },
  }
}

/** @throws {ControlRefusal} {DiskError} DISK_NOT_ANSWERING */
async function ask<Answer>(
  path: string,
  wanted: Request,
  schema: Parser<Answer>,
  patient: boolean,
): Promise<Answer> {
  try {
    return await askControlSocket(path, wanted, schema, patient)
  } catch (error) {
    if (!(error instanceof NoAnswer)) throw error
    const { message, cause } = error
    throw new DiskError('DISK_NOT_ANSWERING', `the process that serves the disk did not answer: ${message}`, {
      cause,
    })
  }
}
