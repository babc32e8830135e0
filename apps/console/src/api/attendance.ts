const uses = ['pointerdown', 'pointermove', 'keydown', 'wheel'] as const
const quietMs = 60_000
let lastUseMs = performance.now()

/** Notes each use of the page, also such as a viewer keeps for itself. */
export function watchUse(page: Window): void {
  for (const use of uses) page.addEventListener(use, note, { capture: true, passive: true })
}

/** Whether nobody has touched this page for a while: what it asks then is of its timers, not of a person. */
export function isUnattended(nowMs: number = performance.now()): boolean {
  return nowMs - lastUseMs > quietMs
}

function note(): void {
  lastUseMs = performance.now()
}
