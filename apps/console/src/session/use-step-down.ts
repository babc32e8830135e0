import type { WorkspaceView } from '#core/api/person.ts'
import { navigate } from '../ui/router.tsx'
import { useAction } from '../ui/use-action.ts'
import { openWorkspace } from './open-workspace.ts'

/** The same workspace in the data centre, after it was taken back from a device. */
export function useStepDown(workspace: WorkspaceView | undefined): {
  /** It would open there now. */
  readonly isOffered: boolean
  readonly open: () => void
  readonly busy: boolean
  readonly error: unknown
} {
  const { busy, error, run } = useAction()
  const outcome = workspace?.decision.outcome
  return {
    isOffered: outcome !== undefined && outcome.place !== 'endpoint',
    open: () => run(async () => navigate(`/session/${await openWorkspace(workspace?.id ?? '')}`)),
    busy,
    error,
  }
}
