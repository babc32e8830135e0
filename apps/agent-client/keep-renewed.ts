import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { clientTls, createIdentityKey, renewAt, validityOf } from '#adapters/pki-x509/index.ts'
import { renewAnswer } from '#core/api/admin.ts'
import { requestHash } from '#core/tpm/index.ts'
import { isRefusal } from './agent-error.ts'
import { type AgentIdentity, readIdentity, writeIdentity } from './agent-identity.ts'
import type { AgentLog } from './agent-log.ts'
import { backoff } from './backoff.ts'
import { comeBack } from './come-back.ts'
import { checkCertificate } from './enrol-agent.ts'
import { forgetNextKey, nextKey } from './next-key.ts'
import { quoteOver } from './quote-over.ts'
import { postJson } from './request-json.ts'
import { saidOnce } from './said-once.ts'
import { steadyMs } from './steady-clock.ts'

const longestRefusedMs = 15 * 60_000
const lookMs = 2_000

export interface Renewal {
  readonly dir: string
  /** Called after the new identity is on disk; new connections should use it. */
  readonly onRenewed: (identity: AgentIdentity) => void
  /** Called with each failure; it is tried again. */
  readonly onFailed?: (error: unknown) => void
  readonly log: AgentLog
}

/**
 * Renews the agent's certificate at half of its life, each time with a new key, until the signal. While the site does
 * not answer it tries again and again, also after the certificate has expired: an endpoint comes back then, and of others
 * the clock may have been wrong. One that the site refuses tries less often the longer it goes on, and at once with another identity.
 */
export async function keepRenewed(
  { dir, onRenewed, onFailed, log: every }: Renewal,
  signal: AbortSignal,
): Promise<void> {
  const log = saidOnce(every)
  for (let failures = 0; !signal.aborted; ) {
    try {
      const identity = await readIdentity(dir)
      await sleepUntil(renewAt(validityOf(identity.chainPem), Math.random()), signal)
      onRenewed(await renewIdentity(dir, await currentIdentity(dir, identity, signal), signal))
      failures = 0
      log.info({}, 'the certificate was renewed')
    } catch (error) {
      if (signal.aborted) return
      log.warn({ err: error }, 'the certificate was not renewed')
      onFailed?.(error)
      // A TPM and a site that has refused need not be asked every quarter of a minute.
      const pauseMs = backoff(failures++, isRefusal(error) ? longestRefusedMs : undefined)
      await untilAnother(dir, pauseMs, signal)
    }
  }
}

/** Waits for so long, by a clock that goes on while the machine sleeps; ends at once when the folder is given another identity. */
export async function untilAnother(dir: string, waitMs: number, signal: AbortSignal): Promise<void> {
  const read = async (): Promise<string> => readFile(join(dir, 'agent.json'), 'utf8').catch(() => '')
  const [until, before] = [steadyMs() + waitMs, await read()]
  for (let left = waitMs; left > 0 && !signal.aborted; left = until - steadyMs()) {
    await sleep(Math.min(lookMs, left), undefined, { signal }).catch(() => undefined)
    if ((await read()) !== before) return
  }
}

/** TLS takes no certificate that has expired: an endpoint first gets one more for the key that it has, and then a new key as ever. */
async function currentIdentity(
  dir: string,
  identity: AgentIdentity,
  signal: AbortSignal,
): Promise<AgentIdentity> {
  const { kind, siteUrl, chainPem } = identity
  const isOver = validityOf(chainPem).notAfter <= Date.now()
  if (!isOver || kind !== 'endpoint' || siteUrl === undefined) return identity
  return comeBack(dir, identity, siteUrl, signal)
}

/**
 * Fetches the next certificate now; with a TPM, by a quote over the request for it.
 *
 * @throws {AgentError} AGENT_WRONG_CERTIFICATE, AGENT_SITE_REFUSED, AGENT_SITE_MALFORMED
 * @throws {TpmDeviceError}
 */
export async function renewIdentity(
  dir: string,
  identity: AgentIdentity,
  signal?: AbortSignal,
): Promise<AgentIdentity> {
  const { rootPem, siteId, agentUrl } = identity
  const isEndpoint = identity.kind === 'endpoint'
  const { requestPem, privateKeyPem } = await (isEndpoint ? nextKey(dir, identity) : createIdentityKey())
  const attestation = await quoteOver(identity, requestHash(requestPem), { withLog: false }, signal)
  const { certificate } = await postJson(
    new URL('/renew', agentUrl),
    { request: requestPem, ...(attestation === undefined ? {} : { attestation }) },
    renewAnswer,
    clientTls(rootPem, { siteId, role: 'site' }, identity),
    signal,
  )
  const renewed = { ...identity, chainPem: certificate, privateKeyPem }
  checkCertificate(renewed)
  await writeIdentity(dir, renewed)
  if (isEndpoint) await forgetNextKey(dir)
  return renewed
}

/** Timers hold 24 days at most and stop while a machine sleeps: look at the clock every minute. */
async function sleepUntil(time: number, signal: AbortSignal): Promise<void> {
  while (Date.now() < time) await sleep(Math.min(60_000, time - Date.now()), undefined, { signal })
}
