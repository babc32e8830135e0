import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import type { VmDelivery } from '#core/api/person.ts'
import { runDirectory } from '../disk/run-dir.ts'
import type { DiskEnd } from '../launch-disk.ts'
import type { LocalVms, OpenVm } from '../vm/local-vms.ts'
import type { Opening } from './launches.ts'
import type { OpenOptions } from './open-delivery.ts'

const memoryBytes = 134_217_728
/** What opens a unix socket that is its only word. */
const viewers = ['/usr/bin/vncviewer', '/usr/bin/xtigervncviewer']

/** The VMs that a service was asked for. */
export interface VmOpener {
  /** Runs a VM as a part of this process until its lease is over. */
  open(opening: Opening, delivery: VmDelivery): Promise<DiskEnd>
  /** Shows the screen of a session's VM to one viewer that speaks RFB, such as a browser. @returns whether there is one */
  serveDisplay(sessionId: string, stream: Duplex): boolean
  /** Asks guests to shut down, as far as they do that soon: what they have not written yet is lost otherwise. */
  shutDown(patienceMs: number): Promise<void>
}

/** Runs VMs as parts of this process, on the screen of whoever asked. They end with the agent's leases. */
export function vmOpener(options: OpenOptions): VmOpener {
  const open = new Map<string, OpenVm>()
  let making: Promise<LocalVms> | undefined
  return {
    open: async (opening, delivery) => {
      const runDir = runDirectory(process.env, process.getuid?.())
      making ??= makeVms(options, runDir)
      const vms = await making
      const { id } = delivery.session
      const { nonce, askedAt, onOpen } = opening
      await endElsewhere(vms, runDir, delivery.session).catch(options.warn)
      await using screen = await screenFor(opening)
      const onRunning = (one: OpenVm): void => {
        open.set(id, one)
        onOpen(() => one.stats())
        screen.show(one.record.display)
      }
      try {
        return await vms.run(options.agent, { delivery, nonce, askedAt, viewer: screen, onOpen: onRunning })
      } finally {
        open.delete(id)
      }
    },
    serveDisplay: (sessionId, stream) => {
      const one = open.get(sessionId)
      one?.vm.display.serve(stream)
      return one !== undefined
    },
    shutDown: async (patienceMs) => (await making?.catch(() => undefined))?.shutDown(patienceMs),
  }
}

/** What runs VMs is loaded when there is one to run. */
async function makeVms(options: OpenOptions, runDir: string): Promise<LocalVms> {
  const { dir, site, storeOptions, backgroundBytesPerSecond, warn } = options
  const [{ LocalVms }, { releaseMetadata }] = await Promise.all([
    import('../vm/local-vms.ts'),
    import('#apps/site-client/release-metadata.ts'),
  ])
  const fetch = releaseMetadata(site)
  return new LocalVms({ dir, runDir, memoryBytes, storeOptions, fetch, backgroundBytesPerSecond, warn })
}

/** Those that other processes keep waiting for a key are ended: their person has come here. */
async function endElsewhere(
  vms: LocalVms,
  runDir: string,
  { person, workspace }: VmDelivery['session'],
): Promise<void> {
  if (vms.waiting(person.id, workspace.id) !== undefined) return
  const [{ vmControlOf }, { readVms }] = await Promise.all([
    import('../vm/vm-control.ts'),
    import('../vm/vm-record.ts'),
  ])
  for (const record of await readVms(runDir)) {
    const isTheirs = record.person.id === person.id && record.workspace.id === workspace.id
    if (!isTheirs || record.pid === process.pid) continue
    const control = vmControlOf(runDir, record)
    if ((await control.status()).state === 'withdrawn') await control.stop(true)
  }
}

interface Screen extends AsyncDisposable {
  readonly uid: number
  readonly gid: number
  readonly path: string
  /** Opens a viewer for it, where there is a desktop and a program. */
  show(display: string): void
}

/** A socket of whoever asked. INVARIANT: its folder is ours, so that nobody puts something else in its place while it is given to them. */
async function screenFor({ account, desktop }: Opening): Promise<Screen> {
  const { uid, gid } = await account()
  const dir = await mkdtemp(join(tmpdir(), 'trustcast-vm-'))
  await chmod(dir, 0o711)
  let program: ChildProcess | undefined
  return {
    uid,
    gid,
    path: join(dir, 'display.sock'),
    show: (display) => {
      if (desktop.display === undefined) return
      const env = {
        DISPLAY: desktop.display,
        ...(desktop.authority !== undefined && { XAUTHORITY: desktop.authority }),
      }
      const viewer = viewers.find((path) => existsSync(path))
      program =
        viewer === undefined ? undefined : spawn(viewer, [display], { uid, gid, env, stdio: 'ignore' })
      program?.on('error', () => {})
    },
    [Symbol.asyncDispose]: async () => {
      program?.kill()
      await rm(dir, { recursive: true, force: true })
    },
  }
}
