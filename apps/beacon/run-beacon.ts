import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { AgentLog } from '#apps/agent-client/index.ts'
import { makeFile } from '#apps/agent-client/make-file.ts'
import { startBeacon } from './beacon.ts'

/** The configuration file of a beacon. */
export const beaconConfig = z.strictObject({
  /** Folder of its key, which is made when it starts for the first time. */
  state: z.string(),
  listen: z.strictObject({ address: z.string().max(64), port: z.int().min(0).max(65535) }),
  /** File with the root certificate (PEM) of the site whose endpoints it times. */
  root: z.string(),
})
export type BeaconConfig = z.infer<typeof beaconConfig>

export interface BeaconRun {
  readonly config: BeaconConfig
  readonly log: AgentLog
  /** Called once, when it serves. @param key what the zone's definition needs: the public key, base64url */
  readonly onReady?: (beacon: { readonly port: number; readonly key: string }) => void
}

/** Runs a beacon until the signal. */
export async function runBeacon({ config, log, onReady }: BeaconRun, signal: AbortSignal): Promise<void> {
  const key = await beaconKeyIn(config.state)
  const rootPem = await readFile(config.root, 'utf8')
  await using beacon = await startBeacon({ key, rootPem, listen: config.listen, log })
  onReady?.({ port: beacon.port, key: publicText(key) })
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

async function beaconKeyIn(dir: string): Promise<KeyObject> {
  const path = join(dir, 'beacon.key')
  await mkdir(dir, { recursive: true, mode: 0o700 })
  const { privateKey } = generateKeyPairSync('ed25519')
  const fresh = privateKey.export({ format: 'pem', type: 'pkcs8' })
  await makeFile(path, String(fresh))
  return createPrivateKey(await readFile(path, 'utf8'))
}

/** The public half of an Ed25519 key as zones name it: 32 bytes, base64url. */
export function publicText(key: KeyObject): string {
  return createPublicKey(key).export({ format: 'jwk' }).x ?? ''
}
