import { randomUUID } from 'node:crypto'
import { mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { AgentError } from './agent-error.ts'
import { openOnHost, sealOnHost } from './host-seal.ts'

/** What makes a machine a host, gateway or endpoint of its site. One file, so that key and certificate change together. */
const agentIdentity = z.strictObject({
  kind: z.enum(['host', 'gateway', 'endpoint']),
  id: z.uuid(),
  siteId: z.string(),
  /** The site's port for agents. */
  agentUrl: z.url({ protocol: /^https$/ }),
  /** Where people reach the site, as it was named at the enrolment. */
  siteUrl: z.url({ protocol: /^https$/ }).optional(),
  /** The root that the enrolment token pinned. */
  rootPem: z.string(),
  /** Leaf, then intermediate. */
  chainPem: z.string(),
  privateKeyPem: z.string(),
  /** Of an endpoint: the key of the site's director, Ed25519, raw, base64url. */
  directorKey: z.string().optional(),
  /** Of an endpoint: the root of the release roles that it trusts first, base64url, where there was one. */
  releaseRoot: z.string().optional(),
  /** Of an endpoint that was enrolled with a TPM: how it is reached, its attestation key, the firmware's log. */
  tpm: z.strictObject({ tcti: z.string(), handle: z.string(), eventLog: z.string().optional() }).optional(),
})
export type AgentIdentity = z.infer<typeof agentIdentity>

/** In an endpoint's file the key is encrypted for the machine. */
const storedIdentity = agentIdentity
  .omit({ privateKeyPem: true })
  .extend({ privateKeyPem: z.string().optional(), sealedKey: z.string().optional() })

/**
 * What the file says, with the key as it lies there.
 *
 * @throws {AgentError} AGENT_NOT_ENROLLED, AGENT_KEY_DAMAGED
 */
export async function readStored(dir: string): Promise<z.infer<typeof storedIdentity>> {
  const text = await readFile(pathIn(dir), 'utf8').catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== 'ENOENT') throw cause
    throw new AgentError('AGENT_NOT_ENROLLED', `${dir} holds no identity`, {
      remedy: 'Make a token in the console and enrol this machine with it.',
      cause,
    })
  })
  try {
    return storedIdentity.parse(JSON.parse(text))
  } catch (cause) {
    throw new AgentError('AGENT_KEY_DAMAGED', `${pathIn(dir)} is not what was written there`, {
      remedy: 'Restore it, or move it away and enrol this machine again: all else in the folder stays.',
      cause,
    })
  }
}

/**
 * @param kind what this machine is about to be
 * @throws {AgentError} AGENT_NOT_ENROLLED, AGENT_WRONG_KIND, AGENT_KEY_DAMAGED, AGENT_HOST_SECRET_MISSING, AGENT_HOST_SECRET_UNSAFE
 * @throws {SealedKeyError} SEALED_KEY_ELSEWHERE when it is a copy from another machine
 */
export async function readIdentity(dir: string, kind?: AgentIdentity['kind']): Promise<AgentIdentity> {
  const { sealedKey, privateKeyPem, ...identity } = await readStored(dir)
  if (kind === undefined || identity.kind === kind) {
    const key = sealedKey ?? privateKeyPem
    if (key === undefined) throw new AgentError('AGENT_KEY_DAMAGED', `${pathIn(dir)} holds no key`)
    return { ...identity, privateKeyPem: await openOnHost(key, purposeOf(identity)) }
  }
  throw new AgentError(
    'AGENT_WRONG_KIND',
    `${dir} holds the identity of a ${identity.kind}, not of a ${kind}`,
    {
      remedy: `Name the folder that \`trustcast enroll\` made for a ${kind}.`,
    },
  )
}

/** Whether an identity could not be read because there is none, or because this account may not. */
export function hasNoIdentity(error: unknown): boolean {
  if (error instanceof AgentError) return error.code === 'AGENT_NOT_ENROLLED'
  return error instanceof Error && 'code' in error && (error.code === 'EACCES' || error.code === 'EPERM')
}

/**
 * Fails as `writeIdentity` would, before a token is spent on an identity that cannot be kept.
 *
 * @throws {AgentError} AGENT_HOST_SECRET_UNSAFE; the operating system's error when this account cannot write there
 */
export async function requireKeepable(dir: string, kind: AgentIdentity['kind']): Promise<void> {
  await mkdir(dir, { recursive: true, mode: 0o700 })
  if (kind === 'endpoint') await sealOnHost('', 'nothing')
  const probe = `${pathIn(dir)}.${randomUUID()}.partial`
  await writeFile(probe, '', { mode: 0o600, flag: 'wx' })
  await rm(probe)
}

/** Replaces the identity, whole or not at all; only its owner can read it, and an endpoint's key only on its machine. */
export async function writeIdentity(dir: string, identity: AgentIdentity): Promise<void> {
  await mkdir(dir, { recursive: true, mode: 0o700 })
  const { privateKeyPem, ...open } = identity
  const stored =
    identity.kind === 'endpoint'
      ? { ...open, sealedKey: await sealOnHost(privateKeyPem, purposeOf(identity)) }
      : identity
  await replaceFile(pathIn(dir), `${JSON.stringify(stored, undefined, 2)}\n`)
}

/**
 * Replaces a file so that a crash leaves the old or the new one, also when several processes do so at once. When it resolves, the new one
 * outlives a loss of power.
 */
export async function replaceFile(path: string, text: string): Promise<void> {
  const partial = `${path}.${randomUUID()}.partial`
  try {
    {
      await using file = await open(partial, 'wx', 0o600)
      await file.writeFile(text)
      await file.sync()
    }
    await rename(partial, path)
  } catch (error) {
    await rm(partial, { force: true })
    throw error
  }
  // Until the folder is on the disk, too, a loss of power brings the file before it back.
  await using folder = await open(dirname(path))
  await folder.sync()
}

function purposeOf({ kind, id }: Pick<AgentIdentity, 'kind' | 'id'>): string {
  return `${kind} ${id}`
}

function pathIn(dir: string): string {
  return join(dir, 'agent.json')
}
