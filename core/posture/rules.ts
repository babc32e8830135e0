import { z } from 'zod'
import { defaultLimits, type PostureLimits } from './limits.ts'

/** A program that has to run. At least one of `process` and `unit` is named; with both, a process of the unit must match. */
export interface ProgramRule {
  /** What people call it. */
  readonly name: string
  /**
   * Of its executable: the whole path when it begins with `/`, otherwise the file's name. `*` stands for any characters.
   * `falcon-sensor`, `/opt/example/bin/*`.
   */
  readonly process?: string | undefined
  /** Of systemd, as `example-sensor.service`. */
  readonly unit?: string | undefined
}

/** What an admin expects of their endpoints. All of it can only lower trust, so a file that a person wrote does no harm. */
export interface PostureRules {
  /** Each must run, else `endpoint.edr` is off. Without any, that claim is left out. */
  readonly edr: readonly ProgramRule[]
  /** Each must run, else `endpoint.antivirus` is off. Where one is named, ClamAV need not be there. */
  readonly antivirus: readonly ProgramRule[]
  /** clamd.conf, where it is in no usual place. */
  readonly clamdConfiguration?: string | undefined
  /** Addresses of DHCP servers that the organisation runs beside each other. Without any, a second one that answers is a fault. */
  readonly dhcpServers: readonly string[]
  readonly limits: PostureLimits
}

export const defaultRules: PostureRules = {
  edr: [],
  antivirus: [],
  dhcpServers: [],
  limits: defaultLimits,
}

const pattern = z.string().min(1).max(200)
const program = z
  .strictObject({ name: z.string().min(1).max(60), process: pattern.optional(), unit: pattern.optional() })
  .refine(({ process, unit }) => process !== undefined || unit !== undefined, {
    message: 'expected `process`, `unit` or both',
  })
const programs = z.array(program).max(20).default([])
const dayCount = z.int().min(1).max(3650)

/** The form of a rules file. */
export const postureRules: z.ZodType<PostureRules> = z.strictObject({
  edr: programs,
  antivirus: programs,
  clamdConfiguration: z.string().startsWith('/').max(4096).optional(),
  dhcpServers: z.array(z.ipv4()).max(16).default([]),
  limits: z
    .strictObject({
      updateGraceDays: dayCount.default(defaultLimits.updateGraceDays),
      listsMaxAgeDays: dayCount.default(defaultLimits.listsMaxAgeDays),
      signatureMaxAgeDays: dayCount.default(defaultLimits.signatureMaxAgeDays),
      lockAfterSec: z.int().min(1).max(86_400).default(defaultLimits.lockAfterSec),
    })
    .default(defaultLimits),
})
