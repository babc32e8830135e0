import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { ProcessId } from './process-id.ts'

/** What whoever cleans up after a killed process must know. Written before each step that it describes. */
export interface MountState {
  /** Where the file system is mounted, without links. */
  readonly dir: string
  /** The directory was made for it. */
  readonly madeDir: boolean
  /** The folder in which nbdfuse shows the disk as a file, and nbdfuse. */
  readonly fuse?: { readonly dir: string; readonly process?: ProcessId }
  /** The loop device over either. */
  readonly loop?: string
  /** The kernel's NBD device, and the nbd-client that connected it. */
  readonly nbd?: { readonly device: string; readonly clientPid: number }
}

const schema = z.strictObject({
  dir: z.string(),
  madeDir: z.boolean(),
  fuse: z
    .strictObject({
      dir: z.string(),
      process: z.strictObject({ pid: z.number().int().positive(), startTime: z.string() }).optional(),
    })
    .optional(),
  loop: z
    .string()
    .regex(/^\/dev\/loop\d+$/)
    .optional(),
  nbd: z
    .strictObject({ device: z.string().regex(/^\/dev\/nbd\d+$/), clientPid: z.number().int().positive() })
    .optional(),
})

const fileIn = (stateDir: string): string => join(stateDir, 'mount.json')

/** Written so that a reader sees the old or the new state, never half of one. */
export async function saveState(stateDir: string, state: MountState): Promise<void> {
  await mkdir(stateDir, { recursive: true, mode: 0o700 })
  await writeFile(`${fileIn(stateDir)}.new`, JSON.stringify(state), { mode: 0o600 })
  await rename(`${fileIn(stateDir)}.new`, fileIn(stateDir))
}

/** @returns undefined when nothing is mounted from this folder */
export async function loadState(stateDir: string): Promise<MountState | undefined> {
  const text = await readFile(fileIn(stateDir), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  return text === undefined ? undefined : (schema.parse(JSON.parse(text)) as MountState)
}

export async function dropState(stateDir: string): Promise<void> {
  await rm(fileIn(stateDir), { force: true })
}
