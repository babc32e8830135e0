import type RFB from '@novnc/novnc'
import { useEffect, useState } from 'react'
import { type LinkQuality, qualitySettings } from './quality.ts'

export interface QualityChoice {
  /** What the person chose, or undefined for automatic. */
  readonly chosen: LinkQuality | undefined
  readonly choose: (quality: LinkQuality | undefined) => void
}

/** Adapts the picture to the way to the host as measured, unless the person has chosen. */
export function useQuality(viewer: RFB | undefined, measured: LinkQuality): QualityChoice {
  const [chosen, choose] = useState<LinkQuality>()
  const used = chosen ?? measured
  useEffect(() => {
    if (viewer !== undefined) Object.assign(viewer, qualitySettings[used])
  }, [viewer, used])
  return { chosen, choose }
}
