import { pino } from 'pino'
import { collectOnce } from '#apps/endpoint/collecting.ts'
import { endpointCollectors, readPostureRules } from '#apps/endpoint/collectors.ts'
import { callJson } from '#apps/site-client/call.ts'
import { type EndpointClaim, endpointClaimsAnswer } from '#core/api/evidence.ts'
import { parseConfig } from '#core/config/parse-config.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import type { Observation } from '#core/evidence/observation.ts'
import { postureRules, worstOf } from '#core/posture/index.ts'
import { claimNames, claimVocabulary, remedyFor } from '#core/trust/index.ts'
import { type Command, parse } from '../command.ts'
import { readLogin } from '../login-file.ts'
import { readText } from '../read-text.ts'
import { atThisEndpoint } from '../this-endpoint.ts'

/** What the command tells, and all of it. */
interface Posture {
  /** As this machine would send them now. */
  readonly observations: readonly Observation[]
  /** What the site makes of its last evidence; absent when it was not to be asked. */
  readonly site?: readonly EndpointClaim[]
  /** Why it was not. */
  readonly siteAbsent?: string
}

export const posture: Command = {
  synopsis: '[--rules FILE]',
  summary:
    'What this machine says of itself: every claim, who saw it, how old it is and what it is worth; with what the site makes of it.',
  run: async (args, out) => {
    const file = parse(args, { rules: { type: 'string' } }, [0, 0]).text('rules')
    const rules =
      file === undefined ? await readPostureRules() : parseConfig(await readText(file), postureRules, file)
    const collectors = await endpointCollectors(rules)
    const log = pino({ name: 'posture', level: 'warn' }, pino.destination({ fd: 2, sync: true }))
    const [observations, known] = await Promise.all([collectOnce(collectors, log), askSite()])
    const found: Posture = { observations, ...known }
    out.result(found, () => describePosture(found))
  },
}

/** Without a site, without a login or an enrolment, the machine still tells what it sees. */
async function askSite(): Promise<Omit<Posture, 'observations'>> {
  try {
    const { site, credentials } = await atThisEndpoint(await readLogin())
    const path = '/api/v1/endpoint/claims'
    const { claims } = await callJson(site, { method: 'GET', path }, endpointClaimsAnswer, credentials)
    return { site: claims }
  } catch (error) {
    if (!isCoded(error)) throw error
    return { siteAbsent: error.message }
  }
}

/** The posture as people read it. */
export function describePosture({ observations, site, siteAbsent }: Posture): string {
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
    'An endpoint sends its site what stands after "now:" above, in these words, and nothing else about this machine.',
    'It holds no names of people, files, addresses or programs, but those of security software and of what is wrong.',
  ].join('\n')
}

function remedyOf(own: Observation | undefined): string | undefined {
  if (own === undefined) return undefined
  const { values } = claimVocabulary[own.claim]
  const isBad = values.indexOf(own.value) < values.indexOf('unknown')
  const remedy = remedyFor(own.claim, own.value)
  return isBad && remedy !== '' ? remedy : undefined
}
