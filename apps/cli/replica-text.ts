import type { ReplicaStats } from '#apps/endpoint/disk/disk-stats.ts'
import { sizeText } from './commands/image/store-options.ts'

/** When what was written was last copied to the data centre, and how much waits. */
export function replicaText(replica: ReplicaStats | undefined): string {
  if (replica === undefined) return ''
  const { copiedAt = 'nothing yet', waitingBytes, stopped } = replica
  if (stopped !== undefined) return `stopped, ${copiedAt}`
  return waitingBytes === 0 ? copiedAt : `${copiedAt}, ${sizeText(waitingBytes)} waiting`
}
