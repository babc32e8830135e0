import { type Obligations, overlays } from '#core/trust/words.ts'

/** What holds when no policy that permits a delivery says otherwise. */
export const defaultObligations: Obligations = {
  clipboardMaxBytes: 262_144,
  watermark: false,
  sessionMinutes: 600,
  idleMinutes: 30,
  disconnectMinutes: 120,
  leaseMinutes: 15,
  overlay: 'discard',
}

/** How an obligation is written in a policy's annotation, and which of two is the stricter. */
interface ObligationKind<T> {
  readonly expects: string
  /** @returns undefined for text that does not say this obligation */
  readonly parse: (text: string) => T | undefined
  readonly stricter: (a: T, b: T) => T
}

const aDayMinutes = 24 * 60
const aWeekMinutes = 7 * aDayMinutes

const kinds: { readonly [Name in keyof Obligations]: ObligationKind<Obligations[Name]> } = {
  clipboardMaxBytes: wholeNumber(0, 64 * 1024 * 1024),
  watermark: {
    expects: '"true" or "false"',
    parse: (text) => (text === 'true' ? true : text === 'false' ? false : undefined),
    stricter: (a, b) => a || b,
  },
  sessionMinutes: wholeNumber(1, aWeekMinutes),
  idleMinutes: wholeNumber(1, aWeekMinutes),
  disconnectMinutes: wholeNumber(1, aWeekMinutes),
  leaseMinutes: wholeNumber(1, aDayMinutes),
  overlay: {
    expects: '"discard", "keep" or "replicate"',
    parse: (text) => overlays.find((overlay) => overlay === text),
    stricter: (a, b) => (overlays.indexOf(a) <= overlays.indexOf(b) ? a : b),
  },
}

export type ObligationName = keyof Obligations

/** @returns true when an annotation of this name is an obligation */
export function isObligation(name: string): name is ObligationName {
  return Object.hasOwn(kinds, name)
}

/** @returns the obligation that an annotation sets, or what was expected of its text */
export function parseObligation(
  name: ObligationName,
  text: string,
): { readonly set: Partial<Obligations> } | { readonly expects: string } {
  const { parse, expects } = kinds[name]
  const value = parse(text)
  return value === undefined ? { expects } : { set: { [name]: value } }
}

/** Merges what several policies set: of each obligation the strictest, the default where nobody sets it. */
export function mergeObligations(all: readonly Partial<Obligations>[]): Obligations {
  return {
    clipboardMaxBytes: strictest('clipboardMaxBytes', all),
    watermark: strictest('watermark', all),
    sessionMinutes: strictest('sessionMinutes', all),
    idleMinutes: strictest('idleMinutes', all),
    disconnectMinutes: strictest('disconnectMinutes', all),
    leaseMinutes: strictest('leaseMinutes', all),
    overlay: strictest('overlay', all),
  }
}

function strictest<Name extends ObligationName>(
  name: Name,
  all: readonly Partial<Obligations>[],
): Obligations[Name] {
  const values = all.map((set) => set[name]).filter((value) => value !== undefined)
  return values.length === 0 ? defaultObligations[name] : values.reduce((a, b) => kinds[name].stricter(a, b))
}

function wholeNumber(min: number, max: number): ObligationKind<number> {
  return {
    expects: `a whole number from ${min} to ${max}`,
    parse: (text) =>
      /^(0|[1-9]\d{0,9})$/.test(text) && Number(text) >= min && Number(text) <= max
        ? Number(text)
        : undefined,
    stricter: Math.min,
  }
}
