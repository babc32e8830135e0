import type { HostToSite } from '#core/agent/messages.ts'
import type { ClipboardDirection } from '#core/rfb/index.ts'

type ClipboardMessage = Extract<HostToSite, { kind: 'clipboard' }>

/** Sums what went through a session's clipboard, so that a viewer who floods it cannot flood the site. */
export interface ClipboardTally {
  add(direction: ClipboardDirection, bytes: number, passed: boolean): void
  /** What came together since the last call: at most one message for each direction and outcome. */
  take(): readonly ClipboardMessage[]
}

export function createClipboardTally(sessionId: string): ClipboardTally {
  const sums = new Map<string, ClipboardMessage>()
  return {
    add(direction, bytes, passed) {
      const name = `${direction} ${passed}`
      const before = sums.get(name)?.bytes ?? 0
      sums.set(name, { kind: 'clipboard', sessionId, direction, bytes: before + bytes, passed })
    },
    take() {
      const messages = [...sums.values()]
      sums.clear()
      return messages
    },
  }
}
