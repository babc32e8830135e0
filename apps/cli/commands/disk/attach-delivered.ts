import { z } from 'zod'
import type { DeliveredDisk } from '#apps/endpoint/serve-delivered.ts'
import { callJson } from '#apps/site-client/call.ts'
import { workspaceView } from '#core/api/person.ts'
import { CliError } from '../../cli-error.ts'
import type { Output } from '../../command.ts'
import { type DiskUse, deliverHere } from '../../deliver-here.ts'
import { launchHere, startAgentHere } from '../../launch-here.ts'
import { type Login, readLogin } from '../../login-file.ts'
import { atThisEndpoint } from '../../this-endpoint.ts'

/**
 * Attaches an image that a site delivers to this endpoint: by the workspace that streams it, under a lease, in the
 * release that the site's director names and the release keys signed.
 *
 * @throws {CliError} CLI_NOT_SIGNED_IN, CLI_NOT_ENROLLED, CLI_DISK_NOT_OFFERED
 */
export async function attachDelivered(
  image: string,
  how: Omit<DiskUse, 'site' | 'agent' | 'launched' | 'use'>,
  onAttached: (disk: DeliveredDisk) => void,
  out: Output,
): Promise<void> {
  // Taken over before there is anything to be given back.
  const { signal } = out
  const login = await atThisEndpoint(await loginFor(image))
  await using agent = await startAgentHere(login)
  if (agent === undefined) {
    throw new CliError(
      'CLI_NOT_ENROLLED',
      `${image} was not imported here, and this machine is no endpoint of the site`,
      {
        remedy: 'Enrol it with a token of an admin: trustcast enroll.',
      },
    )
  }
  const workspace = await workspaceOf(login, image)
  const launched = await launchHere(login, agent, workspace, signal)
  const { delivery } = launched
  if (delivery.kind !== 'streamed-disk') {
    throw notOffered(image, `${workspace} is delivered as ${delivery.session.mode} now`)
  }
  await deliverHere(
    {
      ...how,
      site: login.site,
      agent,
      launched: { ...launched, delivery },
      use: async (disk) => {
        onAttached(disk)
        await disk.served.ended
      },
    },
    out,
  )
}

/** Somebody who mistook a version of their own needs no site. */
async function loginFor(image: string): ReturnType<typeof readLogin> {
  try {
    return await readLogin()
  } catch (cause) {
    if (!(cause instanceof CliError)) throw cause
    throw new CliError(cause.code, `${image} was not imported by this account, and ${cause.message}`, {
      cause,
      remedy:
        'See what was imported: trustcast image list. To use what a site delivers: trustcast login https://…',
    })
  }
}

/** The workspace that would be delivered as this disk. */
async function workspaceOf({ site, credentials }: Login, image: string): Promise<string> {
  const schema = z.strictObject({ workspaces: z.array(workspaceView) })
  const { workspaces } = await callJson(
    site,
    { method: 'GET', path: '/api/v1/workspaces' },
    schema,
    credentials,
  )
  const streaming = workspaces.filter((workspace) => workspace.image === image)
  const offered = streaming.find(({ decision }) => decision.outcome?.mode === 'streamed-disk')
  if (offered !== undefined) return offered.id
  const refusals = streaming.flatMap(({ decision }) => decision.refused)
  const refusal = refusals.find(({ mode }) => mode === 'streamed-disk')
  throw notOffered(image, refusal?.reason ?? 'no workspace of yours streams it')
}

function notOffered(image: string, why: string): CliError {
  return new CliError('CLI_DISK_NOT_OFFERED', `${image} is not delivered to this machine: ${why}`, {
    remedy: 'See what is delivered, and what would unlock more: trustcast list.',
  })
}
