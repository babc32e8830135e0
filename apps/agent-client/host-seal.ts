import { randomBytes } from 'node:crypto'
import { lstat, mkdir, open, readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { type HostSeal, isSealed, openKey, sealKey } from '#core/identity/sealed-key.ts'
import { AgentError } from './agent-error.ts'
import { makeFile } from './make-file.ts'

/**
 * Private keys of endpoints in files are encrypted for the machine: under a secret that is kept apart from them, and the machine's id.
 * The secret is root's in /etc, another account's in its own configuration folder; `$TRUSTCAST_HOST_SECRET` names another file.
 */

const secretBytes = 32

/** @param purpose what the key is for */
export async function sealOnHost(key: string, purpose: string): Promise<string> {
  return sealKey(key, await hostSeal('make'), purpose, randomBytes(28))
}

/**
 * What was sealed on this machine; a text that was not sealed is given back as it is: older versions wrote keys so.
 *
 * @throws {AgentError} AGENT_HOST_SECRET_UNSAFE, AGENT_HOST_SECRET_MISSING
 * @throws {SealedKeyError} SEALED_KEY_MALFORMED, SEALED_KEY_ELSEWHERE
 */
export async function openOnHost(text: string, purpose: string): Promise<string> {
  return isSealed(text) ? openKey(text, await hostSeal('keep'), purpose) : text
}

async function hostSeal(how: 'make' | 'keep'): Promise<HostSeal> {
  const path = secretPath()
  const secret = (await readSecret(path)) ?? (how === 'make' ? await makeSecret(path) : undefined)
  if (secret === undefined)
    throw new AgentError('AGENT_HOST_SECRET_MISSING', `the secret of this machine, ${path}, is not there`, {
      remedy: 'An identity cannot be copied: enrol this machine itself. Or restore the file.',
    })
  const machineId = await readFile('/etc/machine-id', 'utf8').catch(() => '')
  return { secret, machineId: machineId.trim() }
}

function secretPath(): string {
  const named = process.env['TRUSTCAST_HOST_SECRET']
  if (named !== undefined) return named
  if (process.getuid?.() === 0) return '/etc/trustcast/host-secret'
  return join(process.env['XDG_CONFIG_HOME'] ?? join(homedir(), '.config'), 'trustcast/host-secret')
}

async function readSecret(path: string): Promise<Buffer | undefined> {
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (found === undefined) return undefined
  const isOwn = found.uid === 0 || found.uid === process.getuid?.()
  if (!found.isFile() || !isOwn || (found.mode & 0o077) !== 0)
    throw new AgentError('AGENT_HOST_SECRET_UNSAFE', `${path} can be read or changed by others`, {
      remedy: `Make it a file of root or this account alone: chmod 600 ${path}`,
    })
  const secret = Buffer.from((await readFile(path, 'utf8')).trim(), 'base64url')
  if (secret.length === secretBytes) return secret
  throw new AgentError('AGENT_HOST_SECRET_UNSAFE', `expected ${secretBytes} bytes in base64url in ${path}`, {
    remedy: 'Restore the file; without it this machine must be enrolled again.',
  })
}

async function makeSecret(path: string): Promise<Buffer> {
  const folder = dirname(path)
  await mkdir(folder, { recursive: true, mode: 0o755 })
  await makeFile(path, randomBytes(secretBytes).toString('base64url'))
  // Keys are sealed under it next: a loss of power must not leave those alone.
  await using above = await open(dirname(folder))
  await above.sync()
  const secret = await readSecret(path)
  if (secret !== undefined) return secret
  throw new AgentError('AGENT_HOST_SECRET_MISSING', `${path} was removed while it was made`)
}
