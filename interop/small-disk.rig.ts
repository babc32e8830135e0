import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { openDirectoryStore } from '#adapters/blobs-directory/index.ts'
import { readClaimed } from '#core/artifact/index.ts'

const run = promisify(execFile)
const trustcast = join(import.meta.dirname, '../trustcast')
const applets = ['sh', 'sleep', 'echo', 'cat', 'true', 'id', 'touch']

/** A small disk with a shell on it, imported into a folder as a person does it. */
export interface SmallDisk extends AsyncDisposable {
  /** The image's manifest, as the store has it. */
  readonly manifest: Uint8Array
  readonly key: Buffer
  /** A folder. */
  readonly store: string
}

/**
 * @param applications what workspaces may start from it, by name
 * @param dataBytes of a file that none of them reads
 */
export async function makeSmallDisk(
  name: string,
  applications: Readonly<Record<string, string>>,
  dataBytes = 0,
): Promise<SmallDisk> {
  const folder = await mkdtemp('/var/tmp/tc-small-')
  const [root, image, store] = ['root', 'disk.img', 'store'].map((one) => join(folder, one)) as [
    string,
    string,
    string,
  ]
  for (const one of ['bin', 'etc', 'proc', 'dev', 'tmp', 'home', 'run', 'usr', 'var/tmp'])
    await mkdir(join(root, one), { recursive: true })
  await cp('/bin/busybox', join(root, 'bin/busybox'))
  for (const applet of applets) await symlink('busybox', join(root, 'bin', applet))
  await writeFile(join(root, 'etc/passwd'), 'root:x:0:0::/root:/bin/sh\n')
  await writeFile(join(root, 'etc/group'), 'root:x:0:\n')
  await writeFile(join(root, 'usr/data'), randomBytes(dataBytes))
  await run('mke2fs', ['-q', '-t', 'ext4', '-d', root, image, '16M'])
  const apps = Object.entries(applications).flatMap(([app, command]) => ['--app', `${app}=${command}`])
  const env = { ...process.env, TRUSTCAST_IMAGES: join(folder, 'keys') }
  await run(trustcast, ['image', 'import', image, `${name}:1`, '--store', store, ...apps], { env })
  await using directory = await openDirectoryStore(store)
  const { manifestBytes } = await readClaimed(directory, { name, version: '1' }, AbortSignal.any([]))
  const { key } = JSON.parse(await readFile(join(folder, 'keys', `${name}.json`), 'utf8')) as { key: string }
  return {
    manifest: manifestBytes,
    key: Buffer.from(key, 'base64url'),
    store,
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true }),
  }
}
