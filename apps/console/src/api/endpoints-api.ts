import { z } from 'zod'
import { type enrolmentApproval, enrolmentRequestView } from '#core/api/device-keys.ts'
import { endpointClaimsAnswer } from '#core/api/evidence.ts'
import { endpointsAnswer } from '#core/api/lease.ts'
import { command, request } from './client.ts'

/** Calls about endpoints: machines that wait to be let in, what is known of those that joined, whose they are and what they booted. */
export const endpointsApi = {
  list: (query: string) => request({ method: 'GET', path: `/endpoints?${query}` }, endpointsAnswer),
  bootChanged: () => request({ method: 'GET', path: '/endpoints?boot=changed&limit=200' }, endpointsAnswer),
  claims: (id: string) => request({ method: 'GET', path: `/endpoints/${id}/claims` }, endpointClaimsAnswer),
  waiting: () =>
    request(
      { method: 'GET', path: '/admin/enrolment-requests' },
      z.strictObject({ requests: z.array(enrolmentRequestView) }),
    ),
  approve: (id: string, body: z.infer<typeof enrolmentApproval>) =>
    command({ method: 'POST', path: `/admin/enrolment-requests/${id}/approve`, body }),
  refuse: (id: string) => command({ method: 'POST', path: `/admin/enrolment-requests/${id}/refuse` }),
  acceptBoot: (id: string, boot: string) =>
    command({ method: 'POST', path: `/admin/endpoints/${id}/accept-boot`, body: { id: boot } }),
  /** @param owner login of a person, or nobody */
  changeOwner: (id: string, owner: string | null) =>
    command({ method: 'POST', path: `/admin/endpoints/${id}/owner`, body: { owner } }),
}
