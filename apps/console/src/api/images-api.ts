import { z } from 'zod'
import { imageUseAnswer, leasesAnswer } from '#core/api/lease.ts'
import type { channelRequest, rollbackRequest } from '#core/api/releases.ts'
import { imageView, proposalView, releasesView } from '#core/api/releases.ts'
import { command, request } from './client.ts'

/** Calls about images, their releases, and where they are in use. */
export const imagesApi = {
  releases: () => request({ method: 'GET', path: '/releases' }, releasesView),
  images: () => request({ method: 'GET', path: '/images' }, z.strictObject({ images: z.array(imageView) })),
  use: () => request({ method: 'GET', path: '/images/use' }, imageUseAnswer),
  leases: (query: string) => request({ method: 'GET', path: `/leases?${query}` }, leasesAnswer),

  /** Takes effect together, or not at all. */
  publish: (roles: readonly string[]) =>
    command({ method: 'POST', path: '/releases/publications', body: { roles } }),
  withdrawProposal: (role: string) => command({ method: 'DELETE', path: `/releases/proposals/${role}` }),
  renew: (role: string) =>
    request({ method: 'POST', path: `/releases/proposals/${role}/renewal`, body: {} }, proposalView),
  propose: (name: string, version: string) =>
    request({ method: 'POST', path: `/releases/images/${name}/releases`, body: { version } }, proposalView),
  rollBack: (name: string, body: z.infer<typeof rollbackRequest>) =>
    request({ method: 'POST', path: `/releases/images/${name}/rollbacks`, body }, proposalView),
  promote: (name: string, channel: 'test' | 'production', body: z.infer<typeof channelRequest>) =>
    command({ method: 'PUT', path: `/releases/images/${name}/channels/${channel}`, body }),
}
