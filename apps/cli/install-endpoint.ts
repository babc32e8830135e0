import { execFile } from 'node:child_process'
import { mkdir, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { CliError } from './cli-error.ts'
import type { Output } from './command.ts'

/** Makes a machine's endpoint a service that starts with it, and this program the one that opens `trustcast://` addresses. */

const run = promisify(execFile)
const home = resolve(import.meta.dirname, '../..')
const program = join(home, 'trustcast')
const unit = 'etc/systemd/system/trustcast-endpoint.service'
const desktop = 'usr/local/share/applications/trustcast.desktop'
const settings = 'etc/default/trustcast-endpoint'
/** On everybody's PATH. */
const link = 'usr/local/bin/trustcast'
/** As the files in `deploy/` have it, for packages. */
const packaged = '/usr/bin/trustcast'
/** From a package all of it but the settings is there already, and leaves with it. */
const ours = home === '/usr/lib/trustcast' ? [] : [unit, desktop, link]

export interface Target {
  /** `/`, or the root of a system that is being put together: there nothing is started. */
  readonly root: string
}

/**
 * Can be done again: what is as it should be is left alone.
 *
 * @param target.options what the service shall be started with; none keeps what the settings say
 * @throws {CliError} CLI_NEEDS_ROOT
 */
export async function install(
  target: Target & { readonly options: readonly string[] },
  out: Output,
): Promise<void> {
  requireRoot()
  const { root, options } = target
  const done: { readonly path: string; readonly what: 'written' | 'unchanged' | 'kept' }[] = []
  for (const path of ours) done.push(await putOwn(path, join(root, path)))
  const chosen = `# Words for \`trustcast endpoint\`; see docs/endpoint.md.\nTRUSTCAST_ENDPOINT_OPTIONS="${options.join(' ')}"\n`
  const isKept = options.length === 0 && (await exists(join(root, settings)))
  done.push(isKept ? { path: join(root, settings), what: 'kept' } : await put(join(root, settings), chosen))
  const steps = [
    ['systemctl', 'daemon-reload'],
    ['systemctl', 'enable', 'trustcast-endpoint'],
    ['systemctl', 'restart', 'trustcast-endpoint'],
    ['update-desktop-database', join('/', dirname(desktop))],
  ]
  const ran = await runSteps(root, steps)
  out.result({ files: done, ran }, () =>
    said(done, ran, 'Next: trustcast enroll, if it is not enrolled yet; then trustcast status.'),
  )
}

/** Whether `install`, or a package, has made this machine's endpoint a service. */
export async function hasService(): Promise<boolean> {
  const places = [join('/', unit), join('/lib/systemd/system', basename(unit))]
  return (await Promise.all(places.map(exists))).includes(true)
}

/**
 * The identity stays: `/var/lib/trustcast/endpoint` is removed by whoever wants the machine to be none.
 *
 * @throws {CliError} CLI_NEEDS_ROOT
 */
export async function uninstall({ root }: Target, out: Output): Promise<void> {
  requireRoot()
  const before = await runSteps(root, [['systemctl', 'disable', '--now', 'trustcast-endpoint']])
  const done: { readonly path: string; readonly what: 'removed' | 'not there' }[] = []
  for (const path of [...ours, settings]) {
    const whole = join(root, path)
    const isOurs = path === link ? await leadsHere(whole) : await exists(whole)
    if (isOurs) await rm(whole)
    done.push({ path: whole, what: isOurs ? 'removed' : 'not there' })
  }
  const after = await runSteps(root, [
    ['systemctl', 'daemon-reload'],
    ['update-desktop-database', join('/', dirname(desktop))],
  ])
  const ran = [...before, ...after]
  out.result({ files: done, ran }, () =>
    said(
      done,
      ran,
      'The identity is still there. Have an admin revoke this endpoint, then remove /var/lib/trustcast/endpoint.',
    ),
  )
}

function requireRoot(): void {
  if (process.getuid?.() === 0) return
  throw new CliError('CLI_NEEDS_ROOT', 'a service is installed by root', { remedy: 'Run it with sudo.' })
}

/** The link, or a file of `deploy/` for where this program is. */
async function putOwn(path: string, whole: string) {
  if (path === link) return putLink(whole)
  const name = join(path === unit ? 'systemd' : 'desktop', basename(path))
  const text = await readFile(join(home, 'deploy', name), 'utf8')
  return put(whole, text.replaceAll(packaged, program))
}

async function put(path: string, text: string) {
  if ((await readFile(path, 'utf8').catch(() => undefined)) === text)
    return { path, what: 'unchanged' } as const
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, text, { mode: 0o644 })
  return { path, what: 'written' } as const
}

/** A program of that name that is no link stays. */
async function putLink(path: string) {
  if (await leadsHere(path)) return { path, what: 'unchanged' } as const
  const isLink = (await readlink(path).catch(() => undefined)) !== undefined
  if (!isLink && (await exists(path))) return { path, what: 'kept' } as const
  await mkdir(dirname(path), { recursive: true })
  await rm(path, { force: true })
  await symlink(program, path)
  return { path, what: 'written' } as const
}

async function leadsHere(path: string): Promise<boolean> {
  return (await readlink(path).catch(() => undefined)) === program
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}

/** Only on the system that runs, and only where there is such a program: what could not be done is said. */
async function runSteps(root: string, steps: readonly (readonly string[])[]) {
  const isLive = root === '/' && (await exists('/run/systemd/system'))
  const done: { readonly command: string; readonly ok: boolean }[] = []
  for (const [name = '', ...words] of steps) {
    const command = [name, ...words].join(' ')
    if (!isLive) done.push({ command, ok: false })
    else
      done.push({
        command,
        ok: await run(name, words).then(
          () => true,
          () => false,
        ),
      })
  }
  return done
}

function said(
  files: readonly { readonly path: string; readonly what: string }[],
  ran: readonly { readonly command: string; readonly ok: boolean }[],
  next: string,
): string {
  return [
    ...files.map(({ path, what }) => `${what}: ${path}`),
    ...ran.map(({ command, ok }) => (ok ? `done: ${command}` : `not done: ${command}`)),
    next,
  ].join('\n')
}
