/** How good the way to the host is, judged by its round trip. */
export type LinkQuality = 'good' | 'wan' | 'poor'

/** What noVNC is told for each: quality of JPEG and effort of compression, 0 to 9. */
export const qualitySettings: Readonly<
  Record<LinkQuality, { readonly qualityLevel: number; readonly compressionLevel: number }>
> = {
  good: { qualityLevel: 8, compressionLevel: 2 },
  wan: { qualityLevel: 6, compressionLevel: 4 },
  poor: { qualityLevel: 3, compressionLevel: 6 },
}

export const qualityNames: Readonly<Record<LinkQuality, string>> = {
  good: 'Good',
  wan: 'Fair',
  poor: 'Poor',
}

export interface QualityState {
  readonly quality: LinkQuality
  /** Measurements in a row that speak for another level. */
  readonly against: number
}

export const initialQuality: QualityState = { quality: 'good', against: 0 }

const order: readonly LinkQuality[] = ['good', 'wan', 'poor']
/** Upper bounds of the round trip for `good` and `wan`, ms. */
const bounds: readonly number[] = [60, 200]
/** A level is left upwards only when the round trip is this far below its bound, so that it does not swing. */
const betterFactor = 0.7
/** Measurements in a row that change the level. */
const needed = 3

/** One more measurement. The level moves one step at a time, and only after several measurements agree. */
export function nextQuality(state: QualityState, rttMs: number): QualityState {
  const level = order.indexOf(state.quality)
  const step = direction(level, rttMs)
  if (step === 0) return { quality: state.quality, against: 0 }
  const agreeing = Math.sign(state.against) === step ? state.against + step : step
  if (Math.abs(agreeing) < needed) return { quality: state.quality, against: agreeing }
  return { quality: order[level + step] ?? state.quality, against: 0 }
}

/** 1 for worse, -1 for better, 0 to stay. */
function direction(level: number, rttMs: number): -1 | 0 | 1 {
  const upper = bounds[level]
  if (upper !== undefined && rttMs > upper) return 1
  const lower = bounds[level - 1]
  return lower !== undefined && rttMs < lower * betterFactor ? -1 : 0
}
