import { type EndpointAgentOptions, startEndpointAgent } from './endpoint-agent.ts'

/**
 * Runs an endpoint's agent until the signal: the machine stays enrolled and is seen to be there. Launches hold their leases themselves.
 *
 * @throws {AgentError} AGENT_NOT_ENROLLED, AGENT_WRONG_KIND, AGENT_KEY_DAMAGED
 */
export async function runEndpoint(options: EndpointAgentOptions, signal: AbortSignal): Promise<void> {
  await using agent = await startEndpointAgent(options)
  options.log.info({ endpoint: agent.id }, 'endpoint agent runs')
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
