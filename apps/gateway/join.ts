import type { Duplex } from 'node:stream'

/**
 * Joins two connections blindly: whatever one says, the other gets. Each direction waits for its slow reader, so no more
 * is held than the streams' own buffers. The end of one is the end of the other, after all that was said has been
 * passed on. Both need a listener for `error` already; an error counts as an end.
 *
 * @param lingerMs once one side has ended, how long the other may take to read the rest and end too
 * @param onClosed called once, when both are closed
 */
export function join(one: Duplex, other: Duplex, lingerMs: number, onClosed: () => void): void {
  let lingering: NodeJS.Timeout | undefined
  const linger = (): void => {
    lingering ??= setTimeout(() => {
      one.destroy()
      other.destroy()
    }, lingerMs)
  }
  // Counted, because a TLS socket may say `close` before its property `closed` does.
  let open = 2
  for (const [from, to] of [
    [one, other],
    [other, one],
  ] as const) {
    from.pipe(to)
    from.once('end', linger)
    from.once('close', () => {
      to.end()
      // What the other still says is read and dropped: closing a socket with unread bytes resets it, and the peer would
      // lose what is on its way to it.
      to.resume()
      linger()
      if (--open > 0) return
      clearTimeout(lingering)
      onClosed()
    })
  }
}
