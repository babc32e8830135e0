import { type ReactElement, useState } from 'react'
import type { WorkspaceDefinition } from '#core/api/admin.ts'
import { adminApi } from '../api/api.ts'
import { usePerson } from '../person-context.ts'
import { DataTable } from '../ui/data-table.tsx'
import { Icon } from '../ui/icons.tsx'
import { Empty, Problem, Waiting } from '../ui/message.tsx'
import { useResource } from '../ui/use-resource.ts'
import { modeNames } from '../words.ts'
import { TimelineButton } from './data/timeline-dialog.tsx'
import { DeleteDialog } from './delete-dialog.tsx'
import { ExplainDialog } from './explain-dialog.tsx'
import { PageHead } from './page-head.tsx'
import { AddWorkspace, EditWorkspace } from './workspace-dialog.tsx'

/** What can be opened at this site. Who may open it, and how, is for the policy. */
export function WorkspacesPage(): ReactElement {
  const { me } = usePerson()
  const { data, error, reload } = useResource(adminApi.workspaces)
  const [editing, setEditing] = useState<WorkspaceDefinition | 'new'>()
  const [deleting, setDeleting] = useState<WorkspaceDefinition>()
  const [explaining, setExplaining] = useState<WorkspaceDefinition>()
  const workspaces = data?.workspaces
  const add = me.admin && (
    <button type="button" className="button button-primary" onClick={() => setEditing('new')}>
      <Icon name="plus" />
      Add a workspace
    </button>
  )
  return (
    <>
      <PageHead
        title="Workspaces"
        count={workspaces?.length}
        action={workspaces !== undefined && workspaces.length > 0 && add}
      >
        Desktops and applications of this site. Who may open them, and how they are delivered, is for the
        policy.
      </PageHead>
      {workspaces === undefined ? (
        error === undefined ? (
          <Waiting label="Loading workspaces" />
        ) : (
          <Problem error={error} retry={reload} />
        )
      ) : workspaces.length === 0 ? (
        <Empty title="There is nothing to open yet" action={add}>
          A workspace is a whole desktop or one application. People see it when the policy permits it to them.
        </Empty>
      ) : (
        <DataTable
          label="Workspaces"
          rows={workspaces.map((workspace) => ({
            key: workspace.id,
            cells: {
              Name: (
                <>
                  {workspace.name} <span className="muted small mono nowrap">{workspace.id}</span>
                </>
              ),
              Kind: workspace.program.kind === 'desktop' ? 'Desktop' : 'Application',
              'Delivered as': workspace.modes.map((mode) => modeNames[mode]).join(', else '),
              Collections: workspace.collections.join(', ') || <span className="muted">None</span>,
            },
            actions: (
              <span className="row-actions">
                <button
                  type="button"
                  className="button button-small"
                  aria-label={`Explain ${workspace.name}`}
                  onClick={() => setExplaining(workspace)}
                >
                  Explain
                </button>
                <TimelineButton about={{ topic: 'workspace', id: workspace.id, name: workspace.name }} />
                {me.admin && (
                  <button
                    type="button"
                    className="button button-small"
                    aria-label={`Edit ${workspace.name}`}
                    onClick={() => setEditing(workspace)}
                  >
                    Edit
                  </button>
                )}
              </span>
            ),
          }))}
        />
      )}
      {editing === 'new' && <AddWorkspace onClose={() => setEditing(undefined)} onSaved={reload} />}
      {editing !== undefined && editing !== 'new' && (
        <EditWorkspace
          id={editing.id}
          name={editing.name}
          onClose={() => setEditing(undefined)}
          onSaved={reload}
          onDelete={() => {
            setEditing(undefined)
            setDeleting(editing)
          }}
        />
      )}
      {deleting !== undefined && (
        <DeleteDialog
          path={`/admin/workspaces/${deleting.id}`}
          name={deleting.name}
          warning={`The identifier ${deleting.id} is never used again; rules of the policy that name it stay and do nothing.`}
          onClose={() => setDeleting(undefined)}
          onDeleted={() => {
            setDeleting(undefined)
            reload()
          }}
        />
      )}
      {explaining !== undefined && (
        <ExplainDialog workspace={explaining} onClose={() => setExplaining(undefined)} />
      )}
    </>
  )
}
