import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { z } from 'zod'
import { removeAccount } from '#adapters/display-xvnc/index.ts'
import { createLoginKey } from '#apps/cli/login-file.ts'
import { type Credentials, call, callJson, type SiteAddress } from '#apps/site-client/call.ts'
import { demoAccounts } from '#apps/up/demo.ts'
import { exportProofKey } from '#core/identity/proof.ts'

const root = join(import.meta.dirname, '..')
const startTimeoutMs = 90_000

/** A whole demo site, started as a person would: `trustcast up --demo`. */
export interface RunningSite extends AsyncDisposable {
  readonly url: string
  /** First of its ports: people N, agents N+1, gateways N+2 … (people, agents, each). */
  readonly port: number
  readonly state: string
  readonly address: SiteAddress
  /** Pid of the process tree's root. */
  readonly pid: number
  /** What `up` printed so far. */
  output(): string
  /** Pids of one part by its configuration's name: `site`, `gateway-1`, `host-2`. */
  pidsOf(part: string): Promise<readonly number[]>
  signIn(login: string): Promise<SignedInClient>
  /** Runs a command line as a signed-in person. */
  cli(
    args: readonly string[],
    options?: { readonly login?: string; readonly input?: string },
  ): Promise<CliResult>
}

export interface SignedInClient {
  readonly credentials: Credentials
  get<T>(path: string, schema: z.ZodType<T>): Promise<T>
  send<T>(
    method: 'POST' | 'PUT' | 'PATCH' | 'DELETE',
    path: string,
    body: unknown,
    schema: z.ZodType<T>,
  ): Promise<T>
}

export interface CliResult {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface SiteOptions {
  readonly args?: readonly string[]
  readonly demo?: boolean
  /** Puts into its folder what is there before the first start. */
  readonly prepare?: (state: string) => Promise<void>
  /** A site that ran before: it is started again on what it left and where it was. */
  readonly again?: Pick<RunningSite, 'state' | 'port'>
}

/** Starts a site in a folder and on ports of its own; several may run beside each other. */
export async function startSite(options: SiteOptions = {}): Promise<RunningSite> {
  // Short: the paths of sockets are bounded. Reachable: other accounts must pass.
  const state = options.again?.state ?? (await mkdtemp('/var/tmp/tc-'))
  if (options.again === undefined) {
    await beginWith(state)
    await options.prepare?.(state)
  }
  const port = options.again?.port ?? (await freePorts())
  const words = [
    'up',
    ...(options.demo === false ? [] : ['--demo']),
    '--state',
    state,
    '--port',
    String(port),
    ...(options.args ?? []),
  ]
  const child = spawn(join(root, 'trustcast'), words, { stdio: ['ignore', 'pipe', 'pipe'], detached: true })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (data) => (output += String(data)))
  try {
    await untilReady(child, () => output)
  } catch (error) {
    await stop(child, state)
    throw error
  }
  const url = `https://localhost:${port}`
  const ca = await readFile(join(state, 'pki/root.pem'), 'utf8')
  const address = { url, ca }
  return {
    url,
    port,
    state,
    address,
    pid: child.pid ?? 0,
    output: () => output,
    pidsOf: (part) => pidsMatching(`${state}/${part}.yaml`),
    signIn: (login) => signIn(address, login),
    cli: (args, { login = 'nobody', input } = {}) => runCli(state, login, args, input),
    [Symbol.asyncDispose]: () => stop(child, state),
  }
}

/** The database is set up already: see `site-state.setup.ts`. Benchmarks, which have none, set up their own. */
async function beginWith(state: string): Promise<void> {
  const ready = process.env['TRUSTCAST_TEST_STATE']
  if (ready === undefined) return
  const parts = ['engine', 'postgres'].map((name) => join(ready, name))
  await promisify(execFile)('cp', ['-a', '--reflink=auto', ...parts, state])
}

export function passwordOf(login: string): string {
  const account = demoAccounts.find((one) => one.login === login)
  if (account === undefined) throw new Error(`the demo has no ${login}`)
  return account.password
}

export async function signIn(
  site: SiteAddress,
  login: string,
  password = passwordOf(login),
): Promise<SignedInClient> {
  const keyPair = await createLoginKey()
  const body = { login, password, key: await exportProofKey(keyPair.publicKey) }
  const { headers } = await call(site, { method: 'POST', path: '/api/v1/web-sessions', body })
  const [cookie = ''] = String(headers['set-cookie']).split(';')
  const credentials = { cookie, keyPair }
  return {
    credentials,
    get: (path, schema) => callJson(site, { method: 'GET', path: `/api/v1${path}` }, schema, credentials),
    send: (method, path, body, schema) =>
      callJson(site, { method, path: `/api/v1${path}`, body }, schema, credentials),
  }
}

/** Pids of processes whose command line contains `text`. */
export async function pidsMatching(text: string): Promise<readonly number[]> {
  const { readdir } = await import('node:fs/promises')
  const names = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const found = await Promise.all(
    names.map(async (name) => {
      const line = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '')
      const alive =
        line !== '' && !(await readFile(`/proc/${name}/stat`, 'utf8').catch(() => ') Z')).includes(') Z')
      return alive && line.replaceAll('\0', ' ').includes(text) ? [Number(name)] : []
    }),
  )
  return found.flat()
}

/**
 * Asks until it is so: less often the longer it takes, since asking a site costs both of them 15 ms of a processor that what is waited for
 * may need.
 */
export async function until(
  isTrue: () => boolean | Promise<boolean>,
  what: string,
  timeoutMs = 20_000,
): Promise<void> {
  const started = performance.now()
  while (!(await isTrue())) {
    const waited = performance.now() - started
    if (waited > timeoutMs) throw new Error(`it never became true that ${what}`)
    await new Promise((resolve) => setTimeout(resolve, Math.min(Math.max(50, waited / 20), 1_000)))
  }
}

async function untilReady(child: ChildProcess, output: () => string): Promise<void> {
  const deadline = performance.now() + startTimeoutMs
  while (!/^ready https:/m.test(output())) {
    if (child.exitCode !== null) throw new Error(`the site ended with ${child.exitCode}:\n${output()}`)
    if (performance.now() > deadline) throw new Error(`the site was not ready in time:\n${output()}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

async function stop(child: ChildProcess, state: string): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    const gone = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGTERM')
    const timer = setTimeout(() => process.kill(-(child.pid ?? 0), 'SIGKILL'), 30_000)
    await gone
    clearTimeout(timer)
  }
  await until(async () => (await pidsMatching(state)).length === 0, `nothing of ${state} runs any more`)
  await removeAccounts(join(state, 'homes'))
  await rm(state, { recursive: true, force: true })
}

/** A site keeps the accounts of its people; here nobody comes back. */
async function removeAccounts(homesDir: string): Promise<void> {
  const lines = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'))
  for (const [name = '', , , , , home = ''] of lines)
    if (home.startsWith(`${homesDir}/`)) await removeAccount(name, homesDir)
}

async function runCli(
  state: string,
  login: string,
  args: readonly string[],
  input: string | undefined,
): Promise<CliResult> {
  const env = { ...process.env, TRUSTCAST_LOGIN: join(state, `login-${login}.json`) }
  const child = spawn(join(root, 'trustcast'), args, { stdio: ['pipe', 'pipe', 'pipe'], env })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (data) => (stdout += String(data)))
  child.stderr.on('data', (data) => (stderr += String(data)))
  child.stdin.end(input ?? '')
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { code, stdout, stderr }
}

/**
 * The first of six ports in a row that are free now; chosen by chance, since test files run beside each other, and below those that the
 * system gives to connections, which may take one before the site does.
 */
export async function freePorts(): Promise<number> {
  for (;;) {
    const first = 10_000 + (randomBytes(2).readUInt16BE() % 22_000)
    const all = await Promise.all(Array.from({ length: 6 }, (_, index) => isFree(first + index)))
    if (all.every(Boolean)) return first
  }
}

async function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', () => resolve(false))
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)))
  })
}
