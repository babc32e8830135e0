import { readFile } from 'node:fs/promises'
import { type CryptoKeyPair, exportPrivate, generateX25519, importPrivate } from '#core/channel/index.ts'
import { isSealed } from '#core/identity/sealed-key.ts'
import { AgentError } from './agent-error.ts'
import { replaceFile } from './agent-identity.ts'
import { openOnHost, sealOnHost } from './host-seal.ts'
import { makeFile } from './make-file.ts'

/**
 * An agent's own X25519 key, made when it is first asked for: of several processes that ask at once all have one.
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
  if (text === undefined) {
    const { privateKey } = await generateX25519(true)
    await makeFile(path, await stored(await exportPrivate(privateKey), purpose))
    return loadX25519Key(path, purpose)
  }
  const clear = purpose === undefined ? text.trim() : await openOnHost(text.trim(), purpose)
  const raw = Buffer.from(clear, 'base64url')
  if (raw.length === 32) {
    if (purpose !== undefined && !isSealed(text)) await replaceFile(path, await stored(raw, purpose))
    return importPrivate(raw)
  }
  throw new AgentError('AGENT_KEY_DAMAGED', `expected 32 bytes in base64url in ${path}, got ${raw.length}`, {
    remedy: 'Remove the file and restart: a new key is made and the site is told.',
  })
}

async function stored(raw: Uint8Array, purpose: string | undefined): Promise<string> {
  const text = Buffer.from(raw).toString('base64url')
  return purpose === undefined ? text : sealOnHost(text, purpose)
}
