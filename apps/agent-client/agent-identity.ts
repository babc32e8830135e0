import { mkdir, open, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { AgentError } from './agent-error.ts'

/** What makes a machine a host, gateway or endpoint of its site. One file, so that key and certificate change together. */
const agentIdentity = z.strictObject({
  kind: z.enum(['host', 'gateway', 'endpoint']),
  id: z.uuid(),
  siteId: z.string(),
  /** The site's port for agents. */
  agentUrl: z.url({ protocol: /^https$/ }),
  /** The root that the enrolment token pinned. */
  rootPem: z.string(),
  /** Leaf, then intermediate. */
  chainPem: z.string(),
  privateKeyPem: z.string(),
  /** Of an endpoint: the key of the site's director, Ed25519, raw, base64url. */
  directorKey: z.string().optional(),
  /** Of an endpoint: the root of the release roles that it trusts first, base64url, where there was one. */
  releaseRoot: z.string().optional(),
})
export type AgentIdentity = z.infer<typeof agentIdentity>

/**
 * @param kind what this machine is about to be
 * @throws {AgentError} AGENT_NOT_ENROLLED, AGENT_WRONG_KIND
 */
export async function readIdentity(dir: string, kind?: AgentIdentity['kind']): Promise<AgentIdentity> {
  const text = await readFile(pathIn(dir), 'utf8').catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== 'ENOENT') throw cause
    throw new AgentError('AGENT_NOT_ENROLLED', `${dir} holds no identity`, {
      remedy: 'Make a token in the console and enrol this machine with it.',
      cause,
    })
  })
  const identity = agentIdentity.parse(JSON.parse(text))
  if (kind === undefined || identity.kind === kind) return identity
  throw new AgentError(
    'AGENT_WRONG_KIND',
    `${dir} holds the identity of a ${identity.kind}, not of a ${kind}`,
    {
      remedy: `Name the folder that \`trustcast enroll\` made for a ${kind}.`,
    },
  )
}

/** Replaces the identity, whole or not at all; only its owner can read it. */
export async function writeIdentity(dir: string, identity: AgentIdentity): Promise<void> {
  await mkdir(dir, { recursive: true, mode: 0o700 })
  await replaceFile(pathIn(dir), `${JSON.stringify(identity, undefined, 2)}\n`)
}

/** Replaces a file so that a crash leaves the old or the new one. */
export async function replaceFile(path: string, text: string): Promise<void> {
  const partial = `${path}.partial`
  {
    await using file = await open(partial, 'w', 0o600)
    await file.writeFile(text)
    await file.sync()
  }
  await rename(partial, path)
}

function pathIn(dir: string): string {
  return join(dir, 'agent.json')
}
