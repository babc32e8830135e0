const firstMs = 500

/**
 * How long to wait before the next try, ms: doubling up to 15 s, the upper half of it by chance, so that agents which lost
 * a site together do not come back together.
 *
 * @param failures before this one, in a row
 */
export function backoff(failures: number, longestMs = 15_000): number {
  const most = Math.min(longestMs, firstMs * 2 ** Math.min(failures, 20))
  return most * (0.5 + 0.5 * Math.random())
}
