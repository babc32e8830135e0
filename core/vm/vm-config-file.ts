import type { z } from 'zod'
import { schemaOf } from '#core/config/schema-of.ts'
import { type VmConfig, writtenVmConfig } from './vm-config.ts'

/** A VM as a person writes it, for `parseConfig`. */
export const vmConfigFile: z.ZodType<VmConfig> = schemaOf(writtenVmConfig)
