import {
  dataAnswer,
  removeAnswer,
  type TimelineTopic,
  timelineAnswer,
  withdrawAnswer,
} from '#core/api/data.ts'
import { request, send } from './client.ts'

/** Calls about where data is, its time lines, and the proof of them. */
export const dataApi = {
  data: (query: string) => request({ method: 'GET', path: `/data?${query}` }, dataAnswer),
  /** Newest first. @param before index of the oldest entry that is already known */
  timeline: (topic: TimelineTopic, about: string, before?: string) => {
    const query = new URLSearchParams({ [topic]: about, ...(before === undefined ? {} : { before }) })
    return request({ method: 'GET', path: `/timeline?${query}` }, timelineAnswer)
  },
  withdraw: (leaseId: string, reason: string) =>
    request({ method: 'POST', path: `/leases/${leaseId}/withdraw`, body: { reason } }, withdrawAnswer),
  removeReplica: (id: string, reason: string) =>
    request({ method: 'POST', path: `/replicas/${id}/remove`, body: { reason } }, removeAnswer),
  /** The text of a `.tlog-proof` file. */
  proof: async (index: string) => (await send({ method: 'GET', path: `/audit/proof/${index}` })).text(),
}
