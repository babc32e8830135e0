import { execFile } from 'node:child_process'
import { lstat, readdir, readFile, readlink, stat } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'

/**
 * Which program of this machine is at the other end of a connection. The kernel says it, the program does not: what is opened runs as the
 * account that asked, on the screen that the asking program has.
 */
export interface Asker {
  readonly uid: number
  /** Looks through all processes that this one may see. */
  readonly findPid?: () => Promise<number | undefined>
}

const run = promisify(execFile)

/** Of a TCP connection from 127.0.0.1; undefined for one that is gone or of another machine. */
export async function askerOfTcp({
  remoteAddress,
  remotePort,
  localPort,
}: Socket): Promise<Asker | undefined> {
  if (remoteAddress !== '127.0.0.1' || remotePort === undefined || localPort === undefined) return undefined
  const found = clientOf(await readFile('/proc/net/tcp', 'latin1'), remotePort, localPort)
  if (found === undefined) return undefined
  return { uid: found.uid, findPid: async () => (await holderOf(found.inode))?.pid }
}

/**
 * The line of /proc/net/tcp of a client on this machine (proc(5)): `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode`,
 * addresses in hexadecimal, 127.0.0.1 as 0100007F.
 */
export function clientOf(
  table: string,
  clientPort: number,
  serverPort: number,
): { readonly uid: number; readonly inode: string } | undefined {
  const [local, remote] = [clientPort, serverPort].map(
    (port) => `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`,
  )
  for (const line of table.split('\n')) {
    const [, from, to, , , , , uid, , inode] = line.trim().split(/\s+/)
    // A socket that its program has closed is nobody's: the kernel gives inode 0 and account 0.
    if (inode === '0') continue
    if (from === local && to === remote && uid !== undefined && inode !== undefined && /^\d+$/.test(uid))
      return { uid: Number(uid), inode }
  }
  return undefined
}

/**
 * Of a connection to a unix socket of ours. Node does not tell SO_PEERCRED; `ss` asks the kernel which socket has the other end.
 *
 * INVARIANT: the account is the one that made that socket, as its inode has it, not that of a process which holds it by now: whoever hands an
 * open connection to a program with other rights (set-user-ID, or by passing the descriptor) does not become it.
 */
export async function askerOfUnix(socket: Socket): Promise<Asker | undefined> {
  const { fd = -1 } = (socket as { readonly _handle?: { readonly fd?: number } })._handle ?? {}
  const [, inode] = /^socket:\[(\d+)\]$/.exec(await readlink(`/proc/self/fd/${fd}`).catch(() => '')) ?? []
  if (inode === undefined) return undefined
  const { stdout } = await run('ss', ['-xnH'], { timeout: 5_000, maxBuffer: 16 * 1024 * 1024 }).catch(() => ({
    stdout: '',
  }))
  const peer = peerOf(stdout, inode)
  const holder = peer === undefined ? undefined : await holderOf(peer)
  if (holder === undefined) return undefined
  const { pid, uid } = holder
  const runsAs = (await stat(`/proc/${pid}`).catch(() => undefined))?.uid
  // What another account's program has in its environment is not this one's word.
  return { uid, findPid: async () => (runsAs === uid ? pid : undefined) }
}

/**
 * Lines of `ss -xnH`: `u_str ESTAB 0 0 PATH INODE PEERPATH PEERINODE`. A path is whatever its account chose, spaces and whole lines included:
 * what a forged line says is not believed, since the true one is there as well.
 *
 * @returns the inode of the socket at the other end, where exactly one line says so
 */
export function peerOf(lines: string, inode: string): string | undefined {
  const peers = lines.split('\n').flatMap((line) => {
    const [, own, peer] = /^\S+\s+ESTAB\s+\d+\s+\d+\s+.*\s(\d+)\s+\S+\s+(\d+)\s*$/.exec(line) ?? []
    return own === inode && peer !== undefined ? [peer] : []
  })
  return peers.length === 1 ? peers[0] : undefined
}

/** A program that has a socket open, as far as this process may see it, and the account that made the socket. */
async function holderOf(inode: string): Promise<{ readonly pid: number; readonly uid: number } | undefined> {
  const wanted = `socket:[${inode}]`
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const folder = join('/proc', name, 'fd')
    for (const fd of await readdir(folder).catch(() => [])) {
      const path = join(folder, fd)
      if ((await readlink(path).catch(() => '')) !== wanted) continue
      const made = await stat(path).catch(() => undefined)
      // It may have closed it meanwhile, and opened something else there.
      if (made?.isSocket() === true && String(made.ino) === inode) return { pid: Number(name), uid: made.uid }
    }
  }
  return undefined
}

/** Where a program shows things and tells them, as its environment has it. */
export interface Desktop {
  readonly display?: string
  readonly authority?: string
  readonly busAddress?: string
}

/** Of the asking program; it is that account's own word about its own desktop, so a file it names must be its own. */
export async function desktopOf({ uid, findPid }: Asker): Promise<Desktop> {
  const pid = await findPid?.()
  if (pid === undefined) return {}
  const text = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')
  const all = new Map(text.split('\0').map((entry) => splitOnce(entry)))
  const [display, authority, busAddress] = ['DISPLAY', 'XAUTHORITY', 'DBUS_SESSION_BUS_ADDRESS'].map((name) =>
    all.get(name),
  )
  return {
    // Screens of other machines are not this person's seat.
    ...(display?.startsWith(':') === true && { display }),
    ...(authority !== undefined && (await isOwnFile(authority, uid)) && { authority }),
    ...(busAddress !== undefined && { busAddress }),
  }
}

async function isOwnFile(path: string, uid: number): Promise<boolean> {
  const found = await lstat(path).catch(() => undefined)
  return found?.isFile() === true && found.uid === uid
}

function splitOnce(entry: string): readonly [string, string] {
  const at = entry.indexOf('=')
  return [entry.slice(0, at), entry.slice(at + 1)]
}
