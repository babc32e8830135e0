import type { Suspicions } from './judge.ts'

/**
 * What was seen of one gateway while the link to it stood: the hardware address that answered first, and when another one did.
 * A network that one joins anew, by cable or by air, begins anew; so does what is remembered of it.
 */
export interface GatewayMemory {
  readonly first: string
  /** The last other one. */
  readonly other?: string
  /** When it was seen last, Unix ms. */
  readonly otherAt?: number
}

/** Spoofers speak again and again, and are quiet in between. */
const holdMs = 5 * 60_000

/**
 * @param known what is remembered of this gateway on this link
 * @param entry hardware address that the machine uses for it now; undefined when none is known
 * @param answers all that answered for it when asked
 */
export function rememberGateway(
  known: GatewayMemory | undefined,
  entry: string | undefined,
  answers: readonly string[],
  now: number,
): GatewayMemory | undefined {
  const first = known?.first ?? entry ?? answers[0]
  if (first === undefined) return undefined
  const other = [entry, ...answers].find((mac) => mac !== undefined && mac !== first)
  if (other !== undefined) return { first, other, otherAt: now }
  return known ?? { first }
}

export function judgeGateway(
  memory: GatewayMemory | undefined,
  answers: readonly string[],
  now: number,
): Suspicions {
  if (answers.length > 1)
    return [`${answers.length} machines answer for the gateway: ${answers.map(short).join(' and ')}`]
  // Whichever way the clock was set meanwhile.
  if (memory?.other === undefined || Math.abs(now - (memory.otherAt ?? 0)) > holdMs) return []
  return [`the gateway was ${short(memory.first)} and became ${short(memory.other)}`]
}

/** Enough to tell two machines apart; a whole hardware address would say where in the world this is. */
function short(mac: string): string {
  return `…${mac.slice(-5)}`
}
