/** The handshake patterns as data. Source: Noise Protocol Framework, revision 34, sections 7 and 9. */

export type Token = 'e' | 's' | 'ee' | 'es' | 'se' | 'ss' | 'psk'

/** Names of the patterns without modifiers. */
type BasePattern = 'N' | 'NN' | 'NK' | 'KK' | 'XK' | 'IK'

/** A pattern's name, such as `KKpsk0`. */
export type PatternName = BasePattern | `${BasePattern}psk${0 | 1 | 2 | 3}`

export interface Pattern {
  /** Whose static keys both sides know before: they are part of the transcript in this order. */
  readonly known: readonly ('initiator' | 'responder')[]
  /** The first message is the initiator's, then they take turns. */
  readonly messages: readonly (readonly Token[])[]
}

const patterns: Readonly<Record<BasePattern, Pattern>> = {
  N: { known: ['responder'], messages: [['e', 'es']] },
  NN: { known: [], messages: [['e'], ['e', 'ee']] },
  NK: {
    known: ['responder'],
    messages: [
      ['e', 'es'],
      ['e', 'ee'],
    ],
  },
  KK: {
    known: ['initiator', 'responder'],
    messages: [
      ['e', 'es', 'ss'],
      ['e', 'ee', 'se'],
    ],
  },
  XK: {
    known: ['responder'],
    messages: [
      ['e', 'es'],
      ['e', 'ee'],
      ['s', 'se'],
    ],
  },
  IK: {
    known: ['responder'],
    messages: [
      ['e', 'es', 's', 'ss'],
      ['e', 'ee', 'se'],
    ],
  },
}

/** The pattern with its modifier applied: `psk0` goes before the first message, `pskN` after the Nth. */
export function patternOf(name: PatternName): Pattern {
  const [base, modifier] = name.split('psk') as [BasePattern, string | undefined]
  const pattern = patterns[base]
  if (modifier === undefined) return pattern
  const position = Number(modifier)
  return {
    known: pattern.known,
    messages: pattern.messages.map((tokens, index) => {
      if (position === 0 && index === 0) return ['psk', ...tokens]
      return position === index + 1 ? [...tokens, 'psk'] : tokens
    }),
  }
}
