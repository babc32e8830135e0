import type { EndpointEvidenceRow, EndpointStatementRow } from '#adapters/store-postgres/index.ts'
import type { ClaimChanges, EndpointClaim } from '#core/api/evidence.ts'
import { evidentClaimNames, type Observation, settledClaims } from '#core/evidence/index.ts'
import {
  bestValue,
  type Claim,
  type ClaimName,
  claimVocabulary,
  type KnownClaim,
  rankOf,
  remedyFor,
  unknownValue,
} from '#core/trust/index.ts'
import { evidenceAt } from './evidence.ts'

/** What is known of an endpoint, as people read it: each claim with its source and what it is worth. */

export function trustViewOf(
  row: EndpointEvidenceRow | undefined,
  statements: readonly EndpointStatementRow[],
  now: number,
): { readonly claims: EndpointClaim[]; readonly changes: ClaimChanges[] } {
  const { claims } = evidenceAt(row, statements, now)
  return {
    claims: [...endpointClaimsOf(claims, row?.observations ?? [], row?.attested?.detail, now)],
    changes: [...(row?.changes ?? [])],
  }
}

/**
 * @param claims as `claimsOf` gives them
 * @param observations what the endpoint said last
 * @param attestedDetail what its TPM showed, in words
 */
export function endpointClaimsOf(
  claims: readonly Claim[],
  observations: readonly Observation[],
  attestedDetail: string | undefined,
  now: number,
): readonly EndpointClaim[] {
  const settled = settledClaims(claims, now)
  return evidentClaimNames.flatMap((name): EndpointClaim[] => {
    const known = settled[name]
    if (known === undefined) return []
    const own = observations.filter(({ claim }) => claim === name)
    const [worst] = own.toSorted((a, b) => rankOf(name, a.value) - rankOf(name, b.value))
    const detail = known.source === 'attested' ? attestedDetail : detailOf(own)
    const remedy = known.value === bestValue(name) ? '' : remedyFor(name, bestValue(name))
    return [
      {
        name,
        label: claimVocabulary[name].label,
        value: known.value,
        source: known.source,
        ageSec: known.ageSec,
        worth: worthOf(name, known, worst),
        ...(worst === undefined || worst.value === known.value ? {} : { selfReported: worst.value }),
        ...(detail === undefined || detail === '' ? {} : { detail: detail.slice(0, 700) }),
        ...(remedy === '' ? {} : { remedy }),
      },
    ]
  })
}

function detailOf(own: readonly Observation[]): string | undefined {
  return own.map(({ collector, detail }) => `${collector}: ${detail}`).join('; ')
}

/** One sentence: why this much, and not more, is made of it. */
function worthOf(name: ClaimName, { value, source }: KnownClaim, own: Observation | undefined): string {
  if (value === unknownValue && own !== undefined && own.value !== unknownValue)
    return `The device says ${own.value}. Its own word raises no trust; another system has to say it too.`
  if (value === unknownValue) return 'Nothing is known.'
  if (source === 'attested') return 'Its TPM has signed for it.'
  if (source === 'corroborated') return 'The device and another system of the organisation say so.'
  if (source === 'self') return 'The device says so itself: against itself it is believed.'
  return name.startsWith('endpoint.') && claimVocabulary[name].provenBy === 'corroborated'
    ? 'Another system of the organisation says so.'
    : 'The site has seen it.'
}
