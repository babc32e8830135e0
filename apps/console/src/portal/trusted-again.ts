import type { WorkspaceView } from '#core/api/person.ts'
import type { DecisionView } from '#core/api/words.ts'
import type { Device } from './use-device.ts'

/** A workspace of which the site says what the device would be given that this page is shown on. */
export type DecidedHere = WorkspaceView & { readonly here: NonNullable<WorkspaceView['here']> }

/** Whether the device that answers this page is the one that the site thinks of. */
export function isThis(
  workspace: WorkspaceView,
  { status }: Pick<Device, 'status'>,
): workspace is DecidedHere {
  return workspace.here !== undefined && workspace.here.endpoint.id === status?.endpointId
}

/** Whether a workspace runs in the data centre now, and would run on this device if it was opened anew. */
export function isTrustedAgain(workspace: WorkspaceView, device: Pick<Device, 'status'>): boolean {
  return workspace.sessionId !== undefined && isThis(workspace, device) && isOnDevice(workspace.here.decision)
}

export function isOnDevice({ outcome }: DecisionView): boolean {
  return outcome?.place === 'endpoint'
}
