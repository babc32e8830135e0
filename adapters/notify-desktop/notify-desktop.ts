import { execFile } from 'node:child_process'
import { lstat, readFile } from 'node:fs/promises'

/** What a person is told on their desktop. */
export interface DesktopNotice {
  /** One short sentence, without markup. */
  readonly title: string
  /** A few sentences, without markup: what happened, and what they can do. */
  readonly body: string
  /** Critical ones stay until they are dismissed. */
  readonly isCritical: boolean
}

/** Whose desktop, and where its D-Bus is. */
export interface SessionBus {
  readonly uid: number
  /** As `DBUS_SESSION_BUS_ADDRESS` has it; absent: the one that systemd makes for each account. */
  readonly address?: string | undefined
}

/** `no-session`: nobody of that account has a desktop here. `failed`: there is one and it did not take it. */
export type NotifyOutcome = 'shown' | 'no-session' | 'failed'

const timeoutMs = 5_000

/**
 * Shows a notice by `notify-send` (Debian's libnotify-bin; Desktop Notifications Specification 1.2) as the account itself: another one's bus
 * does not let root in. Never throws.
 */
export async function notifyDesktop(
  { title, body, isCritical }: DesktopNotice,
  bus: SessionBus,
): Promise<NotifyOutcome> {
  const { uid } = bus
  const address = bus.address ?? (await ownBus(uid))
  if (address === undefined) return 'no-session'
  const words = [
    '--app-name=Trustcast',
    '--icon=security-medium',
    `--urgency=${isCritical ? 'critical' : 'normal'}`,
    '--',
    title,
    withoutMarkup(body),
  ]
  const asOther = process.getuid?.() === uid ? {} : { uid, gid: await groupOf(uid) }
  const env = { PATH: process.env['PATH'], DBUS_SESSION_BUS_ADDRESS: address, LANG: 'C.UTF-8' }
  return new Promise((resolve) => {
    execFile('notify-send', words, { env, timeout: timeoutMs, cwd: '/', ...asOther }, (error) =>
      resolve(error === null ? 'shown' : 'failed'),
    )
  })
}

/** The bus of an account that is signed in, by systemd's convention. A socket of somebody else's is none. */
async function ownBus(uid: number): Promise<string | undefined> {
  const path = `/run/user/${uid}/bus`
  const found = await lstat(path).catch(() => undefined)
  return found?.isSocket() === true && found.uid === uid ? `unix:path=${path}` : undefined
}

/** Nobody's group where the account is not listed: the bus looks at the user alone. */
async function groupOf(uid: number): Promise<number> {
  const lines = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'))
  return Number(lines.find(([, , known]) => known === String(uid))?.[3] ?? 65_534)
}

/** Bodies may hold markup, titles may not. */
function withoutMarkup(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
