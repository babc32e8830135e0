import { readdir, readFile, readlink } from 'node:fs/promises'
import { type MountEntry, mountTableOf } from './mount-table.ts'

/** A program that keeps a file system busy. */
export interface Holder {
  readonly pid: number
  readonly command: string
}

/**
 * Who uses a mounted file system: open files, working and root directories, running programs and mapped files,
 * also inside of containers and sandboxes.
 *
 * Nothing is looked up on the file system itself, which might not answer.
 *
 * @param number `MAJOR:MINOR` of the file system, as the mount table has it
 */
export async function holdersOf(number: string): Promise<readonly Holder[]> {
  const ownNamespace = await readlink('/proc/self/ns/mnt')
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
  const found = await Promise.all(
    pids.map(async (pid) => {
      if (pid === process.pid || !(await uses(pid, number, ownNamespace))) return []
      return [{ pid, command: (await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '?')).trimEnd() }]
    }),
  )
  return found.flat()
}

/** A process that goes away meanwhile uses nothing. */
async function uses(pid: number, number: string, ownNamespace: string): Promise<boolean> {
  const mounts = (await mountTableOf(pid)).filter(({ device }) => device === number)
  if (mounts.length === 0) return false
  const isOwn = (await readlink(`/proc/${pid}/ns/mnt`).catch(() => '')) === ownNamespace
  return (
    (isOwn ? await standsIn(pid, mounts) : mounts.some(({ point }) => point === '/')) ||
    (await hasOpen(pid, mounts)) ||
    (await hasMapped(pid, number))
  )
}

/** The paths of a process in another mount namespace mean nothing here: there, only a root on the device counts. */
async function standsIn(pid: number, mounts: readonly MountEntry[]): Promise<boolean> {
  const links = await Promise.all(
    ['cwd', 'root', 'exe'].map(async (name) => readlink(`/proc/${pid}/${name}`).catch(() => '')),
  )
  return links.some((path) => mounts.some(({ point }) => path === point || path.startsWith(`${point}/`)))
}

/** Spec: proc_pid_fdinfo(5): mnt_id is the id of mountinfo. */
async function hasOpen(pid: number, mounts: readonly MountEntry[]): Promise<boolean> {
  const descriptors = await readdir(`/proc/${pid}/fdinfo`).catch(() => [])
  for (const descriptor of descriptors) {
    const text = await readFile(`/proc/${pid}/fdinfo/${descriptor}`, 'utf8').catch(() => '')
    const id = Number(/^mnt_id:\s*(\d+)/m.exec(text)?.[1])
    if (mounts.some((mount) => mount.id === id)) return true
  }
  return false
}

/** Spec: proc_pid_maps(5): the device is MAJOR:MINOR in hexadecimal, at least two digits each. */
async function hasMapped(pid: number, number: string): Promise<boolean> {
  const hexadecimal = number
    .split(':')
    .map((part) => Number(part).toString(16).padStart(2, '0'))
    .join(':')
  const maps = await readFile(`/proc/${pid}/maps`, 'utf8').catch(() => '')
  return maps.split('\n').some((line) => line.split(' ')[3] === hexadecimal)
}
