import { z } from 'zod'

/** The configuration file of a host. */
export const hostConfig = z.strictObject({
  /** Folder that holds the identity that enrolment left there, and the host's key. Only root gets in. */
  state: z.string(),
  /** Sockets and state of running displays. */
  run: z.string().default('/run/trustcast'),
  /** Homes of people; every host agent of one site on this machine names the same. */
  homes: z.string().default('/var/lib/trustcast/homes'),
  /** Most sessions at once. */
  capacity: z.int().min(1).max(2000).default(50),
  /** Otherwise sessions go on when the agent stops, and the next one adopts them. */
  endSessionsOnStop: z.boolean().default(false),
})
export type HostConfigFile = z.infer<typeof hostConfig>
