import { readdir, readFile } from 'node:fs/promises'

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

/** What is on top at a directory, given without links. */
export async function mountAt(dir: string): Promise<MountEntry | undefined> {
  return (await mountTable()).findLast(({ point }) => point === dir)
}

/** The loop devices over a file or device, as `/dev/loopN`. */
export async function loopsOver(backing: string): Promise<readonly string[]> {
  const names = (await readdir('/sys/block')).filter((name) => /^loop\d+$/.test(name))
  const files = await Promise.all(
    names.map(async (name) => readFile(`/sys/block/${name}/loop/backing_file`, 'utf8').catch(() => '')),
  )
  return names.filter((_, index) => files[index]?.trimEnd() === backing).map((name) => `/dev/${name}`)
}

function unescapeOctal(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  )
}
