import { type ChildProcess, spawn } from 'node:child_process'
import { access, chmod, constants, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { runDirectory } from '#apps/endpoint/disk/run-dir.ts'
import type { EndpointAgent } from '#apps/endpoint/endpoint-agent.ts'
import { LocalVms, type OpenVm } from '#apps/endpoint/vm/local-vms.ts'
import { vmControlOf } from '#apps/endpoint/vm/vm-control.ts'
import { readVms } from '#apps/endpoint/vm/vm-record.ts'
import type { StoreOptions } from '#apps/images/open-store.ts'
import { callJson, type SiteAddress } from '#apps/site-client/call.ts'
import { releaseMetadata } from '#apps/site-client/release-metadata.ts'
import { me, type VmDelivery } from '#core/api/person.ts'
import { CliError } from './cli-error.ts'
import type { Output } from './command.ts'
import { warn } from './error-text.ts'
import { type Launched, launchHere } from './launch-here.ts'
import { type Login, readLogin } from './login-file.ts'
import { atThisEndpoint, endpointDir } from './this-endpoint.ts'

const memoryBytes = 134_217_728
/** Ctrl-C asks the guest to shut down; after this it is cut off. */
const shutDownMs = 30_000

type LaunchedVm = Launched & { readonly delivery: VmDelivery }

export interface VmUse {
  readonly site: SiteAddress
  readonly agent: EndpointAgent
  readonly launched: LaunchedVm
  readonly storeOptions: StoreOptions
  /** A program that is started with the path of the screen's socket. */
  readonly viewer: string | undefined
  readonly backgroundBytesPerSecond: number | undefined
  /** How long it may wait when trust was lost; absent: as usual. */
  readonly graceMs?: number
}

/** Runs a VM that was delivered to this machine until it has ended, through as many leases as that takes. */
export async function runVmHere(use: VmUse, out: Output): Promise<void> {
  const { agent, site, storeOptions, backgroundBytesPerSecond, graceMs } = use
  const { workspace, person } = use.launched.delivery.session
  const workspaceId = workspace.id
  let next = Promise.withResolvers<LaunchedVm>()
  await using vms = new LocalVms({
    dir: endpointDir(),
    runDir: runDirectory(process.env, process.getuid?.()),
    memoryBytes,
    storeOptions,
    fetch: releaseMetadata(site),
    backgroundBytesPerSecond,
    ...(graceMs !== undefined && { graceMs }),
    // For whoever is signed in by then.
    relaunch: async () =>
      next.resolve(vmOf(await launchHere(await atThisEndpoint(await readLogin()), agent, workspaceId))),
    say: (sentence) => out.say(sentence),
    warn,
  })
  await using screen = await screenFor()
  let program: ChildProcess | undefined
  let open: OpenVm | undefined
  const onOpen = (opened: OpenVm): void => {
    const { record } = opened
    if (open?.vm !== opened.vm) stopWith(opened, out)
    open = opened
    out.result(
      { vm: record.id, display: record.display },
      () => `VM ${record.id} runs; its screen is on ${record.display}`,
    )
    void startViewer(use.viewer, record.display, out).then((started) => (program = started))
  }
  try {
    for (let launched: LaunchedVm | undefined = use.launched; launched !== undefined; ) {
      const { code, reason, notice } = await vms.run(agent, { ...launched, viewer: screen, onOpen })
      program?.kill()
      out.result({ code, reason, ...(notice === undefined ? {} : { notice }) }, () => `Ended: ${reason}`)
      if (notice?.remedy !== undefined) out.say(notice.remedy)
      if (notice?.stepDown !== undefined)
        out.say(`Go on in the data centre (${notice.stepDown}): trustcast launch ${workspaceId}`)
      const waiting = vms.waiting(person.id, workspaceId)
      if (waiting === undefined) return
      out.say(
        `The VM is paused and waits: trustcast launch ${workspaceId} lets it go on, once that is permitted.`,
      )
      launched = await Promise.race([next.promise, waiting.ended.then(() => undefined)])
      next = Promise.withResolvers()
    }
    out.say('The VM did not get its key back in time, and was ended.')
  } finally {
    program?.kill()
  }
}

/** Ctrl-C shuts it down, or ends it when it waits without a key. */
function stopWith({ vm }: OpenVm, out: Output): void {
  const stop = (): void => {
    const shutDown = vm.state === 'withdrawn' ? vm.shutDown(true) : vm.shutDown(false, shutDownMs)
    shutDown.catch(() => vm.shutDown(true)).catch(() => {})
  }
  if (out.signal.aborted) stop()
  else out.signal.addEventListener('abort', stop, { once: true })
}

/**
 * Has the process that keeps a waiting VM of whoever is signed in launch it again.
 *
 * @returns whether there was one
 * @throws {ControlRefusal} what the site answered
 */
export async function continueWaiting({ site, credentials }: Login, workspaceId: string): Promise<boolean> {
  const runDir = runDirectory(process.env, process.getuid?.())
  const records = (await readVms(runDir)).filter(({ workspace }) => workspace.id === workspaceId)
  if (records.length === 0) return false
  const { id } = await callJson(site, { method: 'GET', path: '/api/v1/me' }, me, credentials)
  for (const record of records.filter(({ person }) => person.id === id)) {
    const control = vmControlOf(runDir, record)
    // Of a process that does not answer nothing goes on.
    const state = await control.status().then(
      (status) => status.state,
      () => undefined,
    )
    if (state !== 'withdrawn') continue
    await control.relaunch()
    return true
  }
  return false
}

/** @throws {CliError} CLI_NOT_A_VM */
function vmOf(launched: Launched): LaunchedVm {
  const { delivery } = launched
  if (delivery.kind === 'local-vm') return { ...launched, delivery }
  throw new CliError('CLI_NOT_A_VM', `this workspace is delivered as ${delivery.session.mode} now`, {
    remedy: 'Stop the VM that waits (trustcast vm stop), then launch it.',
  })
}

interface Screen extends AsyncDisposable {
  readonly uid: number
  readonly gid: number
  readonly path: string
}

/** With sudo the screen is shown to whoever called it, on a socket of theirs in a folder that is not. */
async function screenFor(): Promise<(Screen & AsyncDisposable) | undefined> {
  const { SUDO_UID: uid, SUDO_GID: gid } = process.env
  if (process.getuid?.() !== 0 || uid === undefined || gid === undefined) return undefined
  const dir = await mkdtemp(join(tmpdir(), 'trustcast-vm-'))
  await chmod(dir, 0o711)
  return {
    uid: Number(uid),
    gid: Number(gid),
    path: join(dir, 'display.sock'),
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }),
  }
}

/** What opens a unix socket that is its only word. */
const knownViewers = ['vncviewer', 'xtigervncviewer']

async function startViewer(
  wanted: string | undefined,
  display: string,
  out: Output,
): Promise<ChildProcess | undefined> {
  const name = wanted ?? (process.env['DISPLAY'] === undefined ? undefined : await installedViewer())
  if (name === undefined) return undefined
  const { SUDO_UID: uid, SUDO_GID: gid } = process.env
  const as =
    process.getuid?.() === 0 && uid !== undefined && gid !== undefined
      ? { uid: Number(uid), gid: Number(gid) }
      : {}
  const program = spawn(name, [display], { stdio: 'ignore', ...as })
  program.once('error', (error) => out.say(`${name} could not be started: ${error.message}`))
  program.once('exit', () => out.say('The viewer was closed; the VM goes on. Ctrl-C shuts it down.'))
  return program
}

async function installedViewer(): Promise<string | undefined> {
  for (const name of knownViewers)
    for (const dir of (process.env['PATH'] ?? '').split(delimiter)) {
      const found = await access(join(dir, name), constants.X_OK).then(
        () => true,
        () => false,
      )
      if (found) return name
    }
  return undefined
}
