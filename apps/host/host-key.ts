import { open, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { type CryptoKeyPair, exportPrivate, generateX25519, importPrivate } from '#core/channel/index.ts'
import { HostError } from './host-error.ts'

const fileName = 'host-key'

/**
 * The host's X25519 key, to which tickets are sealed and by which viewers know the host. Made at the first start.
 *
 * @param stateDir exists; the 32 private bytes are kept there, 0600, in base64url
 * @throws {HostError} HOST_KEY_DAMAGED
 */
export async function loadHostKey(stateDir: string): Promise<CryptoKeyPair> {
  const path = join(stateDir, fileName)
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  const raw = text === undefined ? await create(path) : Buffer.from(text.trim(), 'base64url')
  if (raw.length === 32) return importPrivate(raw)
  throw new HostError('HOST_KEY_DAMAGED', `expected 32 bytes in base64url in ${path}, got ${raw.length}`, {
    remedy: 'Remove the file and restart: the host makes a new key and tells the site.',
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
