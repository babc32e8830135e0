import { readdir, readFile } from 'node:fs/promises'
import { basename } from 'node:path'

/** One line of a mount table. */
export interface MountEntry {
  readonly id: number
  /** `MAJOR:MINOR` of the file system. */
  readonly device: string
  readonly point: string
  readonly type: string
  /** What was mounted: `/dev/loop0`. */
  readonly source: string
}

/**
 * Reads /proc/PID/mountinfo.
 *
 * Spec: proc_pid_mountinfo(5): id, parent, major:minor, root, mount point, options, optional fields, "-", type, source,
 * super options. Spaces and the like are written as octal escapes.
 */
export function parseMountinfo(text: string): readonly MountEntry[] {
  return text.split('\n').flatMap((line) => {
    const [before = '', after = ''] = line.split(' - ')
    const [id, , device, , point] = before.split(' ')
    const [type, source] = after.split(' ')
    if (id === undefined || device === undefined || point === undefined) return []
    if (type === undefined || source === undefined) return []
    return [{ id: Number(id), device, point: unescapeOctal(point), type, source: unescapeOctal(source) }]
  })
}

/** What this process sees mounted, lowest first. */
export async function mountTable(): Promise<readonly MountEntry[]> {
  return parseMountinfo(await readFile('/proc/self/mountinfo', 'utf8'))
}

/** What another process sees mounted, lowest first; nothing when it is gone. */
export async function mountTableOf(pid: number): Promise<readonly MountEntry[]> {
  return parseMountinfo(await readFile(`/proc/${pid}/mountinfo`, 'utf8').catch(() => ''))
}

/** What is on top at a directory, given without links. */
export async function mountAt(dir: string): Promise<MountEntry | undefined> {
  return topAt(dir, await mountTable())
}

export function topAt(dir: string, table: readonly MountEntry[]): MountEntry | undefined {
  return table.findLast(({ point }) => point === dir)
}

/** The loop devices over a file or device, as `/dev/loopN`. */
export async function loopsOver(backing: string): Promise<readonly string[]> {
  const names = (await readdir('/sys/block')).filter((name) => /^loop\d+$/.test(name))
  const devices = names.map((name) => `/dev/${name}`)
  const files = await Promise.all(devices.map(fileUnder))
  return devices.filter((_, index) => files[index] === backing)
}

/**
 * What a loop device lies over: a path, from the root of a mount that is gone when the file is in one; undefined when the device is free.
 */
export async function fileUnder(loop: string): Promise<string | undefined> {
  const text = await readFile(`/sys/block/${basename(loop)}/loop/backing_file`, 'utf8').catch(() => undefined)
  return text?.trimEnd()
}

function unescapeOctal(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  )
}
