import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

/** A token of SoftHSM with an ECDSA P-256 key `02`, made for one run. Programs that this process starts see it, too. */
export interface SoftToken extends AsyncDisposable {
  readonly module: string
  readonly pin: string
  /** Folder of the token, for whatever else a test wants to be removed with it. */
  readonly dir: string
  generate(type: string, id: string, label: string): Promise<unknown>
}

const run = promisify(execFile)

export async function makeSoftToken(label: string): Promise<SoftToken> {
  const module = await findModule()
  const pin = '493817'
  const dir = await mkdtemp(join(tmpdir(), 'token-'))
  const configuration = join(dir, 'softhsm2.conf')
  await mkdir(join(dir, 'tokens'))
  await writeFile(
    configuration,
    `directories.tokendir = ${join(dir, 'tokens')}\nobjectstore.backend = file\n`,
  )
  const before = process.env['SOFTHSM2_CONF']
  process.env['SOFTHSM2_CONF'] = configuration
  const login = ['--pin', pin]
  await run('softhsm2-util', ['--init-token', '--free', '--label', label, ...login, '--so-pin', '87654321'])
  const token: SoftToken = {
    module,
    pin,
    dir,
    generate: (type, id, label) => {
      const key = ['--key-type', type, '--id', id, '--label', label]
      return run('pkcs11-tool', ['--module', module, '--login', ...login, '--keypairgen', ...key])
    },
    [Symbol.asyncDispose]: async () => {
      if (before === undefined) delete process.env['SOFTHSM2_CONF']
      else process.env['SOFTHSM2_CONF'] = before
      await rm(dir, { recursive: true })
    },
  }
  await token.generate('EC:prime256v1', '02', label)
  return token
}

/** Debian has it in one place for all, or in one for each architecture. */
async function findModule(): Promise<string> {
  const folders = [
    '/usr/lib/softhsm',
    ...(await readdir('/usr/lib')).map((entry) => `/usr/lib/${entry}/softhsm`),
  ]
  for (const folder of folders) {
    const files = await readdir(folder).catch((): string[] => [])
    if (files.includes('libsofthsm2.so')) return join(folder, 'libsofthsm2.so')
  }
  throw new Error('expected SoftHSM: apt install softhsm2')
}
