import { z } from 'zod'
import type { Detached } from './control.ts'
import { type DiskStats, diskStats } from './disk-stats.ts'

/** What the process that serves a disk answers. */

export const statsAnswer: z.ZodType<{ stats: DiskStats }> = z.strictObject({ stats: diskStats })
export const detachAnswer: z.ZodType<{ detached: Detached }> = z.strictObject({
  detached: z.strictObject({ lazily: z.boolean() }),
})
