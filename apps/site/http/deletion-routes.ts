import { z } from 'zod'
import { type PersonRow, personById, workspaceById } from '#adapters/store-postgres/index.ts'
import { deletionQuery, deletionView, type WorkspaceDefinition } from '#core/api/admin.ts'
import { slug, uuid } from '#core/api/words.ts'
import { personViewOf } from '../launches/views.ts'
import { personOutlook, removePerson, removeWorkspace, workspaceOutlook } from '../people/deletion.ts'
import type { Site } from '../site.ts'
import { notFound } from '../site-error.ts'
import { type Api, adminActor, callerOf } from './api.ts'
import { preconditions, requireBasis } from './preconditions.ts'

const admin = { access: 'admin' } as const
const answers = { 200: deletionView }
const request = { headers: preconditions, querystring: deletionQuery, response: answers }

/** Deleting people and workspaces, and what that would lead to. */
export function deletionRoutes(app: Api, site: Site): void {
  const params = z.strictObject({ id: uuid })
  app.get(
    '/admin/people/:id/deletion',
    { config: admin, schema: { params, response: answers } },
    async ({ params: { id } }) => personOutlook(site, await personOf(site, id)),
  )
  app.delete('/admin/people/:id', { config: admin, schema: { params, ...request } }, async (asked) => {
    return removePerson(site, asked.params.id, asked.query.data, adminActor(callerOf(asked)), (person) => {
      requireBasis(asked.headers, `the person ${person.login}`, personViewOf(person))
    })
  })
  workspaceDeletion(app, site)
}

function workspaceDeletion(app: Api, site: Site): void {
  const params = z.strictObject({ id: slug })
  app.get(
    '/admin/workspaces/:id/deletion',
    { config: admin, schema: { params, response: answers } },
    async ({ params: { id } }) => workspaceOutlook(site, (await workspaceOf(site, id)).id),
  )
  app.delete('/admin/workspaces/:id', { config: admin, schema: { params, ...request } }, async (asked) => {
    const { id } = asked.params
    return removeWorkspace(site, id, asked.query.data, adminActor(callerOf(asked)), (workspace) => {
      requireBasis(asked.headers, `the workspace ${id}`, workspace)
    })
  })
}

async function personOf(site: Site, id: string): Promise<PersonRow> {
  const person = await personById(site.store.db, id)
  if (person === undefined) throw notFound('person')
  return person
}

async function workspaceOf(site: Site, id: string): Promise<WorkspaceDefinition> {
  const workspace = await workspaceById(site.store.db, id)
  if (workspace === undefined) throw notFound('workspace')
  return workspace
}
