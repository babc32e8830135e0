import type { AgentLog } from './agent-log.ts'

/** A site that is away for a day is dialled thousands of times: the same failure is said once, until there was another word. */
export function saidOnce(log: AgentLog): AgentLog {
  let last: string | undefined
  return {
    info: (fields, message) => {
      last = undefined
      log.info(fields, message)
    },
    warn: (fields, message) => {
      const said = JSON.stringify([message, Object.values(fields).map(String)])
      if (said !== last) log.warn(fields, message)
      last = said
    },
  }
}
