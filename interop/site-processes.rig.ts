import { readdir, readFile, readlink } from 'node:fs/promises'
import { pidsMatching } from './running-site.rig.ts'

/** What the kernel says about the processes of a site. */

/** Display servers of a site that run, with a session or warm. */
export async function displayServers(state: string): Promise<readonly number[]> {
  const pids = await pidsMatching(`${state}/run/`)
  const names = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')))
  return pids.filter((_, index) => names[index]?.trim() === 'Xvnc')
}

/** Processes that run as a person of a site. */
export async function processesOfPerson(state: string, login: string): Promise<readonly number[]> {
  const accounts = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'))
  const own = accounts.find(
    ([name = '', , , , , home = '']) => home.startsWith(state) && name.startsWith(`tc-${login}-`),
  )
  const isOwn = new RegExp(`^Uid:\\s${own?.[2] ?? 'none'}\\s`, 'm')
  const pids = await allPids()
  const status = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')))
  return pids.filter((_, index) => isOwn.test(status[index] ?? ''))
}

/** Processes and everything that descends from them. */
export async function familyOf(pids: readonly number[]): Promise<readonly number[]> {
  const family = new Set(pids)
  const everybody = await allPids()
  const parents = await Promise.all(
    everybody.map(async (pid) => {
      const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
      return [pid, Number(stat.slice(stat.lastIndexOf(')') + 4).split(' ')[0])] as const
    }),
  )
  for (let grown = -1; grown !== family.size; ) {
    grown = family.size
    for (const [pid, parent] of parents) if (family.has(parent)) family.add(pid)
  }
  return [...family]
}

/** Those of the processes that run; a zombie has ended. */
export async function running(pids: readonly number[]): Promise<readonly number[]> {
  const stats = await Promise.all(
    pids.map((pid) => readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '0 (gone) Z')),
  )
  return pids.filter((_, index) => !/\) [ZX]/.test(stats[index] ?? ''))
}

/** TCP ports on which one of the processes listens, and UDP ports that one has open. Source: proc_net(5) */
export async function listeningPorts(pids: readonly number[]): Promise<readonly number[]> {
  const inodes = new Set<string>()
  for (const pid of pids)
    for (const fd of await readdir(`/proc/${pid}/fd`).catch(() => [])) {
      const target = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')
      inodes.add(/^socket:\[(\d+)\]$/.exec(target)?.[1] ?? '')
    }
  const found = new Set<number>()
  for (const table of ['tcp', 'tcp6', 'udp', 'udp6']) {
    const lines = (await readFile(`/proc/net/${table}`, 'utf8').catch(() => '')).trim().split('\n').slice(1)
    for (const line of lines) {
      const fields = line.trim().split(/\s+/)
      const isOpen = table.startsWith('udp') || fields[3] === '0A'
      if (isOpen && inodes.has(fields[9] ?? ''))
        found.add(Number.parseInt(fields[1]?.split(':')[1] ?? '', 16))
    }
  }
  return [...found].toSorted((a, b) => a - b)
}

async function allPids(): Promise<readonly number[]> {
  return (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
}
