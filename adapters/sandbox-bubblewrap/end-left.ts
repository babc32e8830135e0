import { readdir, readFile, readlink } from 'node:fs/promises'

/**
 * Kills what is left of sandboxes on a file system whose starter was killed. bubblewrap dies with whoever started it, but not while it is
 * being set up: then it waits for ever, or runs on, and holds the file system in a mount namespace that nobody else looks into.
 *
 * @param device `MAJOR:MINOR` of the file system, as the mount table has it; that its disk is dead is the caller's word
 */
export async function endSandboxesOn(device: string): Promise<void> {
  const own = await readlink('/proc/self/ns/mnt')
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const mounts = await readFile(`/proc/${pid}/mountinfo`, 'utf8').catch(() => '')
    if (!mounts.split('\n').some((line) => isRootOn(device, line))) continue
    const namespace = await readlink(`/proc/${pid}/ns/mnt`).catch(() => own)
    if (namespace !== own) kill(Number(pid))
  }
}

/** As its root, or where `prepareScript` shows what becomes that. Spec: proc_pid_mountinfo(5): id, parent, device, root, mount point. */
function isRootOn(device: string, line: string): boolean {
  const [, , on, , point = ''] = line.split(' ')
  return on === device && ['/', '/mnt/root'].includes(point)
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It ended by itself just now.
  }
}
