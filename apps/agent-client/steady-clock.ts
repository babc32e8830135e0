import { uptime } from 'node:os'

/**
 * Milliseconds since this machine started, the time that it slept included (Linux: CLOCK_BOOTTIME). Nobody can set it, so a clock
 * that is put back makes no lease longer.
 */
export function steadyMs(): number {
  return Math.floor(uptime() * 1000)
}
