import { z } from 'zod'
import type { DiskRecord } from './record.ts'

export const diskRecord: z.ZodType<DiskRecord> = z.strictObject({
  id: z.string().regex(/^[0-9a-f]{8}$/),
  name: z.string(),
  description: z.string(),
  pid: z.number().int().positive(),
  startTime: z.string(),
  format: z.enum(['raw', 'vhd']),
  readOnly: z.boolean(),
  sizeBytes: z.number().int().nonnegative(),
  socket: z.string(),
  tcp: z.strictObject({ address: z.string(), port: z.number().int() }).exactOptional(),
  mount: z
    .strictObject({ dir: z.string(), filesystem: z.string(), readOnly: z.boolean(), export: z.string() })
    .exactOptional(),
  since: z.iso.datetime(),
})
