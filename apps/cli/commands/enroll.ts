import { createHash, X509Certificate } from 'node:crypto'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { parseToken } from '#adapters/pki-x509/index.ts'
import { enrolAgent, requestApproval, type TpmChoice } from '#apps/agent-client/index.ts'
import { usage } from '../cli-error.ts'
import { type Command, type Output, type Parsed, parse } from '../command.ts'
import { hasService } from '../install-endpoint.ts'
import { readCertificates } from '../read-text.ts'
import { siteUrl } from '../site-url.ts'
import { endpointDir } from '../this-endpoint.ts'

/** Said before anything is. */
const whatIsSent =
  'Once its service runs it tells the site each minute what it sees of itself and of its network, and nothing of your files or of what you do. See all of it first: trustcast posture'

export const enroll: Command = {
  synopsis:
    'URL (--token TOKEN | --ca FILE | --pin SHA256) [--host | --gateway] [--tpm auto|none|TCTI] [--name NAME] [--state DIR]',
  summary:
    'Make this machine a host, a gateway or an endpoint of a site: the token says which. It comes from the console, works once, and names the site’s authority. Without a token an endpoint waits until an admin lets it in; --ca or --pin name the authority then. Where an identity of the same site is over, the new one takes its place and all else stays.',
  run: async (args, out) => {
    const words = parse(
      args,
      {
        token: { type: 'string' },
        ca: { type: 'string' },
        pin: { type: 'string' },
        host: { type: 'boolean' },
        gateway: { type: 'boolean' },
        tpm: { type: 'string' },
        name: { type: 'string' },
        state: { type: 'string' },
      },
      [1, 1],
    )
    const url = siteUrl(words.positionals[0] ?? '')
    const tpm = tpmChoice(words.text('tpm'))
    const token = words.text('token') ?? (await waitForApproval(url, words, out))
    const { kind } = parseToken(token)
    for (const other of ['host', 'gateway'] as const)
      if (words.flag(other) && other !== kind)
        throw usage(`the token is for ${kind === 'endpoint' ? 'an' : 'a'} ${kind}, not for a ${other}`)
    const dir = words.text('state') ?? agentStateDir(kind)
    const note = (text: string): void => out.say(text)
    const identity = await enrolAgent({ url, token, dir, kind, tpm, note }, out.signal)
    const { id } = identity
    const isServed = dir === agentStateDir('endpoint') && (await hasService())
    const deviceKey = kind === 'endpoint' ? { deviceKey: identity.tpm === undefined ? 'file' : 'tpm' } : {}
    out.result({ id, kind, state: dir, ...deviceKey }, () =>
      kind === 'endpoint'
        ? `This machine is endpoint ${id}; it is known by ${identity.tpm === undefined ? 'a key file' : 'its TPM'}.\n${whatIsSent}\n${isServed ? 'Start its service: sudo systemctl restart trustcast-endpoint' : `Keep it so with: trustcast endpoint --state ${dir}`}`
        : `This machine is ${kind} ${id}.\nStart it with: trustcast ${kind} --config FILE, where FILE says \`state: ${dir}\` (docs/configuration.md has an example).`,
    )
  },
}

/** Where an identity goes when nothing else is said. */
function agentStateDir(kind: 'host' | 'gateway' | 'endpoint'): string {
  return kind === 'endpoint' ? endpointDir() : join('/var/lib/trustcast', kind)
}

function tpmChoice(word = 'auto'): TpmChoice {
  return word === 'auto' || word === 'none' ? word : { tcti: word }
}

async function waitForApproval(url: string, words: Parsed, out: Output): Promise<string> {
  const rootHash = await pinOf(words)
  if (words.flag('host') || words.flag('gateway'))
    throw usage('--token is missing: hosts and gateways join with one, made in the console under Hosts')
  const dir = words.text('state') ?? agentStateDir('endpoint')
  const name = words.text('name') ?? ownName()
  const waiting = await requestApproval({ url, rootHash, name, dir }, out.signal)
  const text = `Tell an admin this code: ${waiting.code}\nThey let this machine in under Endpoints, until ${waiting.expiresAt}. Waiting …`
  // With --json nothing else is said; whoever waits must still see the code.
  if (out.json) process.stderr.write(`${text}\n`)
  else out.say(text)
  return waiting.approved(out.signal)
}

async function pinOf(words: Parsed): Promise<Uint8Array> {
  const [file, pin] = [words.text('ca'), words.text('pin')]
  if (file !== undefined)
    return createHash('sha256')
      .update(new X509Certificate(await readCertificates(file)).raw)
      .digest()
  if (pin === undefined)
    throw usage(
      '--token is missing: make one in the console, or name the site’s authority with --ca or --pin',
    )
  const hash = Buffer.from(pin.replaceAll(':', ''), 'hex')
  if (hash.length !== 32) throw usage('--pin takes a SHA-256 fingerprint: 64 hexadecimal digits')
  return hash
}

/** The machine's own name in the form that names have here. */
function ownName(): string {
  const name = hostname()
    .toLowerCase()
    .replace(/[^a-z0-9-]+/g, '-')
    .replace(/^[^a-z]+/, '')
    .slice(0, 40)
  return name === '' ? 'endpoint' : name
}
