import { useEffect, useState } from 'react'

/** The whole page in full screen, with the keys that browsers otherwise keep for themselves where they allow it. */
export function useFullscreen(): { readonly on: boolean; readonly toggle: () => void } {
  const [on, setOn] = useState(document.fullscreenElement !== null)
  useEffect(() => {
    const changed = (): void => setOn(document.fullscreenElement !== null)
    document.addEventListener('fullscreenchange', changed)
    return () => document.removeEventListener('fullscreenchange', changed)
  }, [])
  return { on, toggle: () => void (on ? document.exitFullscreen() : enter()) }
}

async function enter(): Promise<void> {
  await document.documentElement.requestFullscreen({ navigationUI: 'hide' })
  const { keyboard } = navigator as Navigator & { readonly keyboard?: { lock(): Promise<void> } }
  await keyboard?.lock().catch(() => undefined)
}
