import { join } from 'node:path'
import { discardKept } from '#adapters/overlay-file/index.ts'
import type { WrittenHere } from '#core/agent/endpoint-messages.ts'

/**
 * Removes what one person wrote and kept on this endpoint.
 *
 * @param dir the endpoint's state
 * @throws {OverlayFileError} OVERLAY_IN_USE, OVERLAY_ELSEWHERE, OVERLAY_NO_LOCK
 */
export async function discardWritten(dir: string, { personId, workspaceId }: WrittenHere): Promise<void> {
  const vms = join(dir, 'vms', personId)
  const folders =
    workspaceId === undefined ? [join(dir, 'overlays', personId), vms] : [join(vms, workspaceId)]
  for (const folder of folders) await discardKept(folder)
}
