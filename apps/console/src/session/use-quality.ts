import type RFB from '@novnc/novnc'
import { useEffect, useState } from 'react'
import { initialQuality, type LinkQuality, nextQuality, qualitySettings } from './quality.ts'

export interface Quality {
  /** As measured. */
  readonly quality: LinkQuality
  /** What the person chose, or undefined for automatic. */
  readonly chosen: LinkQuality | undefined
  readonly choose: (quality: LinkQuality | undefined) => void
}

/** Measures the way to the host and adapts the picture to it, unless the person has chosen. */
export function useQuality(viewer: RFB | undefined, rttMs: number | undefined): Quality {
  const [measured, setMeasured] = useState(initialQuality)
  const [chosen, choose] = useState<LinkQuality>()
  useEffect(() => {
    if (rttMs !== undefined) setMeasured((state) => nextQuality(state, rttMs))
  }, [rttMs])
  const used = chosen ?? measured.quality
  useEffect(() => {
    if (viewer !== undefined) Object.assign(viewer, qualitySettings[used])
  }, [viewer, used])
  return { quality: measured.quality, chosen, choose }
}
