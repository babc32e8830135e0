import { open, readFile, rename } from 'node:fs/promises'
import { type CryptoKeyPair, exportPrivate, generateX25519, importPrivate } from '#core/channel/index.ts'
import { isSealed } from '#core/identity/sealed-key.ts'
import { AgentError } from './agent-error.ts'
import { openOnHost, sealOnHost } from './host-seal.ts'

/**
 * An agent's own X25519 key, made when it is first asked for.
 *
 * @param path in a folder that exists; the 32 private bytes are kept there, 0600, in base64url
 * @param purpose when given, they are encrypted for this machine; a key that an older version left in the clear is so from then on
 * @throws {AgentError} AGENT_KEY_DAMAGED, AGENT_HOST_SECRET_MISSING, AGENT_HOST_SECRET_UNSAFE
 * @throws {SealedKeyError} SEALED_KEY_ELSEWHERE
 */
export async function loadX25519Key(path: string, purpose?: string): Promise<CryptoKeyPair> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  const isInTheClear = text !== undefined && purpose !== undefined && !isSealed(text)
  const clear =
    text === undefined || purpose === undefined ? text?.trim() : await openOnHost(text.trim(), purpose)
  const raw = clear === undefined ? await fresh() : Buffer.from(clear, 'base64url')
  if (raw.length === 32) {
    if (text === undefined || isInTheClear) await keep(path, raw, purpose)
    return importPrivate(raw)
  }
  throw new AgentError('AGENT_KEY_DAMAGED', `expected 32 bytes in base64url in ${path}, got ${raw.length}`, {
    remedy: 'Remove the file and restart: a new key is made and the site is told.',
  })
}

async function fresh(): Promise<Uint8Array> {
  return exportPrivate((await generateX25519(true)).privateKey)
}

/** Written aside and moved, so that a crash leaves a whole key or none. */
async function keep(path: string, raw: Uint8Array, purpose: string | undefined): Promise<void> {
  const text = Buffer.from(raw).toString('base64url')
  const file = await open(`${path}.new`, 'w', 0o600)
  try {
    await file.chmod(0o600)
    await file.writeFile(purpose === undefined ? text : await sealOnHost(text, purpose))
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(`${path}.new`, path)
}
