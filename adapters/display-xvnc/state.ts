import { chmod, mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { DisplayRequest } from '#core/broker/display.ts'
import type { ProcessId } from './processes.ts'

/** What a later agent must know about a display to adopt or to end it. */
export interface DisplayState {
  /** Names the folder and the cgroup. */
  readonly id: string
  /** The throw-away user of the display server. */
  readonly uid: number
  readonly server?: ProcessId
  /** X display number, without colon. */
  readonly display?: number
  readonly request?: DisplayRequest
  /** The account's user. */
  readonly personUid?: number
  /** The program whose end is the end of the session. Present only when the start was complete. */
  readonly program?: ProcessId
  readonly startedAt?: number
}

const processId: z.ZodType<ProcessId> = z.strictObject({
  pid: z.number().int().positive(),
  startTime: z.string(),
})
const request: z.ZodType<DisplayRequest> = z.strictObject({
  sessionId: z.string(),
  account: z.string(),
  fullName: z.string(),
  program: z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('desktop') }),
    z.strictObject({ kind: z.literal('application'), command: z.array(z.string()) }),
  ]),
  width: z.number(),
  height: z.number(),
  limits: z.strictObject({ memoryMiB: z.number(), processes: z.number(), cpuPercent: z.number() }),
})
const state = z.strictObject({
  id: z.string(),
  uid: z.number().int().positive(),
  server: processId.optional(),
  display: z.number().int().optional(),
  request: request.optional(),
  personUid: z.number().int().positive().optional(),
  program: processId.optional(),
  startedAt: z.number().optional(),
})

/** The files of one display. */
export interface DisplayFolder {
  /** root's, 0711. */
  readonly path: string
  /** The display server's, 0700: nobody else but root gets in. */
  readonly server: string
  readonly socket: string
  /** Holds the X socket; root's. Only the session sees it, at the usual place. */
  readonly xSockets: string
  /** Cookie for the display server and for the agent. */
  readonly cookie: string
  /** Where the session alone sees the person's folder, 0700. */
  readonly person: string
  readonly log: string
  /** Feeds `log` up to its bound. */
  readonly logPipe: string
}

/** @param id unique in `runDir` */
export function folderOf(runDir: string, id: string): DisplayFolder {
  const path = join(runDir, id)
  const server = join(path, 'x')
  return {
    path,
    server,
    socket: join(server, 'rfb.sock'),
    xSockets: join(server, 'X11-unix'),
    cookie: join(server, 'cookie'),
    person: join(path, 'p'),
    log: join(path, 'log'),
    logPipe: join(path, 'log.pipe'),
  }
}

/** Writes the state so that a reader sees the old or the new one, never half of one. */
export async function saveState(runDir: string, value: DisplayState): Promise<void> {
  const { path } = folderOf(runDir, value.id)
  await mkdir(path, { recursive: true })
  await chmod(path, 0o711)
  await writeFile(join(path, 'state.new'), JSON.stringify(value), { mode: 0o600 })
  await rename(join(path, 'state.new'), join(path, 'state.json'))
}

/** Every display of which there is a trace; `state` is absent when it was not written or is damaged. */
export async function loadStates(
  runDir: string,
): Promise<readonly { readonly id: string; readonly state: DisplayState | undefined }[]> {
  const entries = await readdir(runDir, { withFileTypes: true })
  const ids = entries
    .filter((entry) => entry.isDirectory() && isDisplayId(entry.name))
    .map((entry) => entry.name)
  return Promise.all(ids.map(async (id) => ({ id, state: await loadState(runDir, id) })))
}

/** Display ids are made here, so that what else lies in the run directory is left alone. */
export function isDisplayId(name: string): boolean {
  return /^d[0-9a-f]{12}$/.test(name)
}

async function loadState(runDir: string, id: string): Promise<DisplayState | undefined> {
  try {
    const text = await readFile(join(folderOf(runDir, id).path, 'state.json'), 'utf8')
    const value = state.parse(JSON.parse(text)) as DisplayState
    return value.id === id ? value : undefined
  } catch {
    return undefined
  }
}
