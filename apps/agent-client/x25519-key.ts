import { open, readFile, rename } from 'node:fs/promises'
import { type CryptoKeyPair, exportPrivate, generateX25519, importPrivate } from '#core/channel/index.ts'
import { AgentError } from './agent-error.ts'

/**
 * An agent's own X25519 key, made when it is first asked for.
 *
 * @param path in a folder that exists; the 32 private bytes are kept there, 0600, in base64url
 * @throws {AgentError} AGENT_KEY_DAMAGED
 */
export async function loadX25519Key(path: string): Promise<CryptoKeyPair> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  const raw = text === undefined ? await create(path) : Buffer.from(text.trim(), 'base64url')
  if (raw.length === 32) return importPrivate(raw)
  throw new AgentError('AGENT_KEY_DAMAGED', `expected 32 bytes in base64url in ${path}, got ${raw.length}`, {
    remedy: 'Remove the file and restart: a new key is made and the site is told.',
  })
}

/** Written aside and moved, so that a crash leaves a whole key or none. */
async function create(path: string): Promise<Uint8Array> {
  const raw = await exportPrivate((await generateX25519(true)).privateKey)
  const file = await open(`${path}.new`, 'w', 0o600)
  try {
    await file.chmod(0o600)
    await file.writeFile(Buffer.from(raw).toString('base64url'))
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(`${path}.new`, path)
  return raw
}
