import { join } from 'node:path'
import { loadX25519Key } from '#apps/agent-client/index.ts'
import type { CryptoKeyPair } from '#core/channel/index.ts'

/**
 * The host's X25519 key, to which tickets are sealed and by which viewers know the host. Made at the first start.
 *
 * @param stateDir exists
 * @throws {AgentError} AGENT_KEY_DAMAGED
 */
export async function loadHostKey(stateDir: string): Promise<CryptoKeyPair> {
  return loadX25519Key(join(stateDir, 'host-key'))
}
