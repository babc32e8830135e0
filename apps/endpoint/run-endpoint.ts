import { reportOfMachine } from './report-sources.ts'
import { type EndpointServiceOptions, startEndpointService } from './service/endpoint-service.ts'

/**
 * Runs the service of an endpoint until the signal: the machine stays enrolled and is seen to be there, and opens what portals and command
 * lines of it hand over. `trustcast launch` holds its lease itself.
 *
 * @throws {AgentError} AGENT_NOT_ENROLLED, AGENT_WRONG_KIND, AGENT_KEY_DAMAGED; {ServiceError} SERVICE_NO_SITE, SERVICE_BAD_REQUEST
 */
export async function runEndpoint(
  options: EndpointServiceOptions & {
    /** Does not tell the site what this machine sees of itself: it counts as silent. */
    readonly isSilent?: boolean
  },
  signal: AbortSignal,
): Promise<void> {
  await using report = options.isSilent === true ? undefined : await reportOfMachine(options)
  await using service = await startEndpointService({ ...options, report })
  const { agent, port } = service
  options.log.info({ endpoint: agent.id, port }, 'endpoint service runs')
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
