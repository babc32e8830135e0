import { alarmsAnswer } from '#core/api/evidence.ts'
import { command, request } from './client.ts'

/** Calls about alarms, and about endpoints whose evidence is no longer taken. */
export const evidenceApi = {
  alarms: () => request({ method: 'GET', path: '/alarms' }, alarmsAnswer),
  acknowledge: (id: string) => command({ method: 'POST', path: `/alarms/${id}/acknowledge` }),
  lift: (id: string) => command({ method: 'POST', path: `/alarms/${id}/lift` }),
  forgiveFork: (endpointId: string) => command({ method: 'DELETE', path: `/endpoints/${endpointId}/fork` }),
}
