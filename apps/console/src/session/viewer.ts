import type RFB from '@novnc/novnc'

/** noVNC waits for a probe of the browser's video decoder when it loads, so it is fetched before it is needed. */
export function preloadViewer(): void {
  void loadViewer()
}

/** The viewer's class. */
export async function loadViewer(): Promise<typeof RFB> {
  return (await import('@novnc/novnc')).default
}

/**
 * Waits for the first drawn update and marks it as `first-pixel`. noVNC has no event for it, but its canvas is
 * transparent until then; a copy of a few pixels each frame is cheap.
 */
export function awaitFirstPixel(target: Element, signal: AbortSignal): Promise<void> {
  const sample = new OffscreenCanvas(8, 8)
  const context = sample.getContext('2d', { willReadFrequently: true })
  return new Promise((resolve) => {
    function look(): void {
      if (signal.aborted) return
      const canvas = target.querySelector('canvas')
      if (canvas !== null && canvas.width > 0 && context !== null) {
        context.drawImage(canvas, 0, 0, sample.width, sample.height)
        if (context.getImageData(0, 0, sample.width, sample.height).data.some((value) => value > 0)) {
          performance.mark('first-pixel')
          return resolve()
        }
      }
      requestAnimationFrame(look)
    }
    look()
  })
}

/** Keeps the last picture, so that the person sees their work while a new viewer takes over. */
export function keepPicture(target: Element, still: HTMLCanvasElement): void {
  const canvas = target.querySelector('canvas')
  if (canvas === null || canvas.width === 0) return
  still.width = canvas.width
  still.height = canvas.height
  still.getContext('2d')?.drawImage(canvas, 0, 0)
}
