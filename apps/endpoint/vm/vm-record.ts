import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { isRunning } from '#adapters/mount-nbd/index.ts'

/** What other processes of the same owner, and the person whose screen it is on, may know about a VM. */
export const vmRecord = z.strictObject({
  id: z.string().regex(/^[0-9a-f]{8}$/),
  workspace: z.strictObject({ id: z.string(), name: z.string() }),
  person: z.strictObject({ id: z.uuid(), name: z.string() }),
  /** `NAME:VERSION` */
  image: z.string(),
  /** The process that keeps it, and when that started: a pid alone may be another's by now. */
  pid: z.int().positive(),
  startTime: z.string(),
  /** The unix socket on which its screen is shown, with the decision's conditions enforced. */
  display: z.string(),
  /** The account of this machine whose screen it is on, and that may look after it. */
  uid: z.int().min(0),
  since: z.iso.datetime(),
})
export type VmRecord = z.infer<typeof vmRecord>

export interface VmFolder {
  readonly path: string
  readonly record: string
  /** Answers other processes. */
  readonly control: string
  readonly display: string
  /** QEMU's own. */
  readonly machine: string
}

/** @param runDir see `runDirectory` */
export function vmFolder(runDir: string, id: string): VmFolder {
  const path = join(runDir, 'vms', id)
  return {
    path,
    record: join(path, 'vm.json'),
    control: join(path, 'control.sock'),
    display: join(path, 'display.sock'),
    machine: join(path, 'machine'),
  }
}

/** Makes the folder of a VM, for its owner alone. */
export async function makeVmFolder(runDir: string, id: string): Promise<VmFolder> {
  const folder = vmFolder(runDir, id)
  await mkdir(folder.path, { recursive: true, mode: 0o700 })
  return folder
}

/** From here on others see it. */
export async function registerVm(folder: VmFolder, about: VmRecord): Promise<void> {
  await writeFile(`${folder.record}.new`, JSON.stringify(about), { mode: 0o600 })
  await rename(`${folder.record}.new`, folder.record)
}

export async function unregisterVm({ path }: VmFolder): Promise<void> {
  await rm(path, { recursive: true, force: true })
}

/** Those that run, the oldest first; none where this account may not look. What killed processes left of theirs is removed. */
export async function readVms(runDir: string): Promise<readonly VmRecord[]> {
  const names = await readdir(join(runDir, 'vms')).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'EACCES') return []
    throw error
  })
  const found: VmRecord[] = []
  for (const name of names.filter((name) => /^[0-9a-f]{8}$/.test(name))) {
    const folder = vmFolder(runDir, name)
    const one = await readVm(folder)
    if (one !== undefined && (await isRunning(one))) found.push(one)
    else if (one !== undefined) await unregisterVm(folder)
  }
  return found.toSorted((a, b) => a.since.localeCompare(b.since) || a.id.localeCompare(b.id))
}

/** @returns undefined while it is being made, and when it has just gone */
async function readVm({ record: path }: VmFolder): Promise<VmRecord | undefined> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  return text === undefined ? undefined : vmRecord.parse(JSON.parse(text))
}
