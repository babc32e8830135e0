import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

/** An emulated TPM whose endorsement key a certificate authority of its own has certified. */
export interface SoftwareTpm extends AsyncDisposable {
  readonly dir: string
  readonly tcti: string
  /** PEM: who certified it. */
  readonly authority: string
  /** Ends it and starts it again: PCRs begin anew, persistent keys stay. */
  restart(): Promise<void>
}

const run = promisify(execFile)

/** A TPM that does not run yet. */
export interface TpmState {
  /** What `--tpmstate` of swtpm names. */
  readonly state: string
  /** PEM: who certified its endorsement key. */
  readonly authority: string
}

/** Makes a TPM with swtpm_setup. @param caDir of its authority, to be shared by several; its own when absent */
export async function makeTpm(dir: string, caDir?: string): Promise<TpmState> {
  const [state, ca] = [join(dir, 'state'), caDir ?? join(dir, 'ca')]
  for (const one of [state, ca]) await mkdir(one, { recursive: true })
  await writeFile(
    join(dir, 'localca.conf'),
    `statedir = ${ca}\nsigningkey = ${ca}/signkey.pem\nissuercert = ${ca}/issuercert.pem\ncertserial = ${ca}/certserial\n`,
  )
  await writeFile(
    join(dir, 'localca.options'),
    '--platform-manufacturer Trustcast\n--platform-version 1\n--platform-model test\n',
  )
  await writeFile(
    join(dir, 'setup.conf'),
    `create_certs_tool = /usr/bin/swtpm_localca\ncreate_certs_tool_config = ${dir}/localca.conf\ncreate_certs_tool_options = ${dir}/localca.options\n`,
  )
  await run(
    'swtpm_setup',
    `--tpm2 --tpmstate ${state} --config ${join(dir, 'setup.conf')} --create-ek-cert --pcr-banks sha256`.split(
      ' ',
    ),
  )
  return { state, authority: await readFile(join(ca, 'issuercert.pem'), 'utf8') }
}

/** Makes a TPM and runs it. @param caDir as for `makeTpm` */
export async function startSoftwareTpm(caDir?: string): Promise<SoftwareTpm> {
  const dir = await mkdtemp(join(tmpdir(), 'tc-swtpm-'))
  const { state, authority } = await makeTpm(dir, caDir)
  const socket = join(dir, 's')
  let child = await startSwtpm(state, socket)
  return {
    dir,
    tcti: `swtpm:path=${socket}`,
    authority,
    restart: async () => {
      await end(child)
      child = await startSwtpm(state, socket)
    },
    [Symbol.asyncDispose]: async () => {
      await end(child)
      await rm(dir, { recursive: true, force: true })
    },
  }
}

/** Runs one of the tpm2-tools on it, beside the adapter: `pcrread sha256:4`. */
export async function tpm2(tpm: SoftwareTpm, line: string): Promise<string> {
  const [command, ...args] = line.split(' ')
  const env = { ...process.env, TPM2TOOLS_TCTI: tpm.tcti }
  return (await run(`tpm2_${command}`, args, { cwd: tpm.dir, env })).stdout
}

async function startSwtpm(state: string, socket: string): Promise<ChildProcess> {
  for (const path of [socket, `${socket}.ctrl`]) await rm(path, { force: true })
  const child = spawn(
    'swtpm',
    `socket --tpm2 --tpmstate dir=${state} --flags not-need-init,startup-clear --server type=unixio,path=${socket} --ctrl type=unixio,path=${socket}.ctrl`.split(
      ' ',
    ),
    { stdio: 'ignore' },
  )
  for (let tries = 0; (await stat(`${socket}.ctrl`).catch(() => undefined)) === undefined; tries++) {
    if (tries > 400 || child.exitCode !== null) throw new Error('swtpm does not start')
    await sleep(25)
  }
  return child
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGTERM')
  await gone
}
