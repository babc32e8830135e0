import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'
import { DisplayError } from '#core/broker/display.ts'

const packageOf = {
  Xvnc: 'tigervnc-standalone-server',
  tigervncconfig: 'tigervnc-common',
  openbox: 'openbox',
  tint2: 'tint2',
  hsetroot: 'hsetroot',
  xprop: 'x11-utils',
  xterm: 'xterm',
  mousepad: 'mousepad',
  setpriv: 'util-linux',
  unshare: 'util-linux',
  nsenter: 'util-linux',
  mount: 'mount',
  perl: 'perl-base',
  flock: 'util-linux',
  useradd: 'passwd',
} as const

/** Programs that sessions are made of. */
export type Peer = keyof typeof packageOf

/** Debian packages that sessions need, with the fonts and icons that make the desktop readable. */
export const debianPackages: readonly string[] = [
  ...new Set(Object.values(packageOf)),
  'fonts-dejavu-core',
  'adwaita-icon-theme',
]

/** Where programs are looked for: ours and a person's. */
export const programPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** @throws {DisplayError} DISPLAY_PEER_MISSING, naming the package of each program that this machine lacks */
export function requirePeers(): void {
  const missing = (Object.keys(packageOf) as Peer[]).filter((peer) => !isInstalled(peer))
  if (missing.length === 0) return
  const packages = [...new Set(missing.map((peer) => packageOf[peer]))].join(' ')
  throw new DisplayError('DISPLAY_PEER_MISSING', `this machine has no ${missing.join(', ')}`, {
    remedy: `Run: apt-get install ${packages}`,
  })
}

function isInstalled(peer: Peer): boolean {
  return programPath.split(':').some((folder) => {
    try {
      accessSync(join(folder, peer), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}
