import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { z } from 'zod'
import { formatLaunchUrl } from '#core/handoff/index.ts'
import type { Account } from './as-account.rig.ts'
import { codeFor, type RunningService, startService } from './endpoint-service.rig.ts'
import { diskWorkspace, publishForTest } from './published-release.rig.ts'
import { type RunningSite, type SignedInClient, startSite, until } from './running-site.rig.ts'
import { importTinyVm } from './tiny-guest.rig.ts'

const run = promisify(execFile)
const trustcast = join(import.meta.dirname, '../trustcast')
export const policy = `
@id("vm")
@overlay("keep")
permit (principal in Group::"employees", action == Action::"local-vm", resource);
@id("works")
permit (principal, action in [Action::"input", Action::"clipboard-in"], resource);
`

/** A site whose workspace `desk` is a local VM, and a device whose service runs it for whoever asks, as themselves. */
export interface DeskVm extends AsyncDisposable {
  readonly site: RunningSite
  readonly ada: SignedInClient
  readonly nora: SignedInClient
  readonly service: RunningService
}

export async function startDeskVm(): Promise<DeskVm> {
  await using undo = new AsyncDisposableStack()
  const folder = await mkdtemp('/var/tmp/tc-desk-')
  undo.defer(() => rm(folder, { recursive: true, force: true }))
  const site = undo.use(await startSite({ args: ['--hosts', '1', '--gateways', '1'] }))
  const [ada, nora] = [await site.signIn('ada'), await site.signIn('nora')]
  await ada.send('PUT', '/admin/policy', { text: policy }, z.unknown())
  await publishForTest(ada, 'tiny', await importTinyVm(folder, 'tiny'))
  const disk = { image: 'tiny', channel: 'production' } as const
  const desk = diskWorkspace('tiny', { id: 'desk', modes: ['local-vm'], disk })
  await ada.send('PUT', '/admin/workspaces/desk', desk, z.unknown())
  const service = undo.use(
    await startService(site, ada, 'laptop-1', { args: ['--port', '0', '--no-report'] }),
  )
  // An address opens on its person's own device alone.
  await ada.send('POST', `/admin/endpoints/${service.id}/owner`, { owner: 'nora' }, z.unknown())
  const all = undo.move()
  return { site, ada, nora, service, [Symbol.asyncDispose]: () => all.disposeAsync() }
}

/** Nora opens her desk by an address of the portal, as the desktop of an account has it opened. @returns the session */
export async function openDesk(
  { site, nora, service }: DeskVm,
  account: Account,
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  // As the portal does when it is opened there: before that the desk is not on it.
  await service.launch(await codeFor(nora, { endpointId: service.id }))
  const code = await codeFor(nora, { workspaceId: 'desk', endpointId: service.id })
  const url = formatLaunchUrl({ site: site.url, code })
  const { code: ended, stdout, stderr } = await commandAs(account, ['open', url, '--json'], service, env)
  if (ended !== 0) throw new Error(stderr)
  await until(
    async () => (await service.status()).launches.some(({ state }) => state === 'open'),
    'the VM is open',
    60_000,
  )
  return (JSON.parse(stdout) as { launch: { id: string } }).launch.id
}

/** A command line of an account of this machine. */
export async function commandAs(
  { uid, gid }: Account,
  words: readonly string[],
  { env }: Pick<RunningService, 'env'>,
  more: Readonly<Record<string, string>> = {},
): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> {
  return run(trustcast, words, { env: { ...env, ...more }, uid, gid }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: { code: number; stdout: string; stderr: string }) => error,
  )
}
