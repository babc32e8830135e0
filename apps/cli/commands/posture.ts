import { randomBytes } from 'node:crypto'
import { pino } from 'pino'
import { AgentError, hasNoIdentity, quoteOver } from '#apps/agent-client/index.ts'
import { collectOnce } from '#apps/endpoint/collecting.ts'
import { readPostureRules } from '#apps/endpoint/collectors.ts'
import { machineCollectors } from '#apps/endpoint/report-sources.ts'
import { callJson } from '#apps/site-client/call.ts'
import { type EndpointClaim, endpointClaimsAnswer } from '#core/api/evidence.ts'
import { parseConfig } from '#core/config/parse-config.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import type { Observation } from '#core/evidence/observation.ts'
import { postureRules, worstOf } from '#core/posture/index.ts'
import { type Attestation, commandLinesIn, decodeEventLog, quotedPcrs } from '#core/tpm/index.ts'
import { claimNames, claimVocabulary, remedyFor } from '#core/trust/index.ts'
import { type Command, parse } from '../command.ts'
import { readLogin } from '../login-file.ts'
import { readText } from '../read-text.ts'
import { atThisEndpoint, endpointDir } from '../this-endpoint.ts'

/** What the command tells, and all of it. */
interface Posture {
  /** As this machine would send them now. */
  readonly observations: readonly Observation[]
  /** What its TPM would say beside them, over another number than the site's; absent without one. */
  readonly attestation?: Attestation
  /** Why what the TPM would say is not known. */
  readonly attestationAbsent?: string
  /** What the site makes of its last evidence; absent when it was not to be asked. */
  readonly site?: readonly EndpointClaim[]
  /** Why it was not. */
  readonly siteAbsent?: string
}

export const posture: Command = {
  synopsis: '[--rules FILE] [--state DIR]',
  summary:
    'What this machine says of itself and of its network: every claim, who saw it, how old it is and what it is worth; with what the site makes of it, and all else that is sent. --state DIR is the folder of the enrolment, where it is not the usual one.',
  run: async (args, out) => {
    const words = parse(args, { rules: { type: 'string' }, state: { type: 'string' } }, [0, 0])
    const file = words.text('rules')
    const rules =
      file === undefined ? await readPostureRules() : parseConfig(await readText(file), postureRules, file)
    const dir = words.text('state') ?? endpointDir()
    const collectors = await machineCollectors({ dir, rules, isLookOnly: true })
    const log = pino({ name: 'posture', level: 'warn' }, pino.destination({ fd: 2, sync: true }))
    const [observations, attested, known] = await Promise.all([
      collectOnce(collectors, log),
      askTpm(dir),
      askSite(dir),
    ])
    const found: Posture = { observations, ...attested, ...known }
    out.result(found, () => describePosture(found))
  },
}

/** A quote as a report has one, with the log that the site may ask for. */
async function askTpm(dir: string): Promise<Pick<Posture, 'attestation' | 'attestationAbsent'>> {
  try {
    const attestation = await quoteOver(dir, randomBytes(32), { withLog: true })
    return attestation === undefined ? {} : { attestation }
  } catch (error) {
    if (error instanceof AgentError && error.code === 'AGENT_NOT_ENROLLED') return {}
    if (isCoded(error)) return { attestationAbsent: error.message }
    if (hasNoIdentity(error)) return { attestationAbsent: `this account may not read ${dir}` }
    throw error
  }
}

/** Without a site, without a login or an enrolment, the machine still tells what it sees. */
async function askSite(dir: string): Promise<Pick<Posture, 'site' | 'siteAbsent'>> {
  try {
    const { site, credentials } = await atThisEndpoint(await readLogin(), dir)
    const path = '/api/v1/endpoint/claims'
    const { claims } = await callJson(site, { method: 'GET', path }, endpointClaimsAnswer, credentials)
    return { site: claims }
  } catch (error) {
    if (!isCoded(error)) throw error
    return { siteAbsent: error.message }
  }
}

/** The posture as people read it. */
export function describePosture(posture: Posture): string {
  const { observations, site, siteAbsent } = posture
  const settled = worstOf(observations)
  const claims = claimNames.flatMap((name) => {
    const own = settled.find(({ claim }) => claim === name)
    const known = site?.find((claim) => claim.name === name)
    if (own === undefined && known === undefined) return []
    const value = known?.value ?? own?.value ?? ''
    const seen = observations.filter(({ claim }) => claim === name)
    const remedy = known === undefined ? remedyOf(own) : known.remedy
    return [
      `${claimVocabulary[name].label}: ${value}`,
      ...seen.map(({ value, collector, detail }) => `    ${collector}, now: ${value}. ${detail}`),
      known === undefined
        ? '    worth: self: can only lower trust'
        : `    worth: ${known.source}, ${known.ageSec} s old: ${known.worth}`,
      ...(remedy === undefined ? [] : [`    ${remedy}.`]),
    ]
  })
  return [
    ...claims,
    '',
    ...(siteAbsent === undefined ? [] : [`What a site makes of it is not known: ${siteAbsent}.`]),
    'An enrolled device sends its site, every minute and when something changes:',
    '  what stands after "now:" above, in these words;',
    "  its id and the site's, the site's nonce, a count, the time, and a value that ties it to its connection;",
    '  where a zone of the site has a beacon: what that signs, the same id and nonce, a hash of its key, the time, how long an answer took;',
    ...describeAttestation(posture).map((line) => `  ${line}`),
    "It names no people, files, programs or addresses, but those of security software and of what is wrong, and what a TPM's event log names.",
    ...(process.getuid?.() === 0
      ? []
      : ['Its service is root and may see more than this account: ask as root.']),
  ].join('\n')
}

function describeAttestation({ attestation, attestationAbsent }: Posture): readonly string[] {
  if (attestationAbsent !== undefined) return [`what its TPM says is not known here: ${attestationAbsent}.`]
  if (attestation === undefined) return ['nothing of a TPM: its key is not in one.']
  const { quote, signature, pcrs, eventLog } = attestation
  return [
    `a quote of its TPM (${sizeOf(quote)}), its signature (${sizeOf(signature)}), and the values of PCR ${quotedPcrs.join(', ')} (${sizeOf(pcrs)});`,
    ...(eventLog === undefined
      ? ['no event log: there is none.']
      : [
          `when the site asks, the firmware's event log (${sizeOf(eventLog)}): ${describeLog(Buffer.from(eventLog, 'base64url'))}.`,
        ]),
  ]
}

function sizeOf(text: string): string {
  return `${Buffer.from(text, 'base64url').length} bytes`
}

function describeLog(bytes: Buffer): string {
  const log = decodeEventLog(bytes)
  const lines = commandLinesIn(log)
  const held = `${log.events.length} measurements of what firmware and boot loader read and started, with its settings and names of files`
  return lines.length === 0 ? held : `${held}, and the kernel's command line: ${lines.join(' | ')}`
}

function remedyOf(own: Observation | undefined): string | undefined {
  if (own === undefined) return undefined
  const { values } = claimVocabulary[own.claim]
  const isBad = values.indexOf(own.value) < values.indexOf('unknown')
  const remedy = remedyFor(own.claim, own.value)
  return isBad && remedy !== '' ? remedy : undefined
}
