import { useEffect, useEffectEvent, useRef, useState } from 'react'
import type { DeviceStatus } from '#core/api/handoff.ts'
import { formatLaunchUrl } from '#core/handoff/launch-url.ts'
import { api } from '../api/api.ts'
import { askDevice, handToDevice } from '../api/device.ts'

/** The endpoint that this page is shown on, as far as it answers. */
export interface Device {
  readonly status: DeviceStatus | undefined
  /** Hands a workspace to it; it opens there by itself. */
  readonly open: (workspaceId: string, wish?: { readonly switch?: boolean }) => Promise<void>
  /** When nothing answers: through whatever program of this machine has the scheme. Nobody says whether there is one. */
  readonly openByScheme: (workspaceId: string) => Promise<void>
}

const busyMs = 1_000
const openMs = 3_000
const idleMs = 15_000
/** The service may have started anew, and tells those alone who have met it since; the profile may have been on another device meanwhile. */
const meetAgainMs = 4 * 60_000
const absentMs = 60_000

/**
 * Asks the device how it is, more often while something opens there, and has it meet the site's picture of this page now and then.
 *
 * @param isWanted false while nothing that this person has could run on a device: then nobody is asked, and no browser asks its person for leave
 */
export function useDevice(isWanted: boolean): Device {
  const [status, setStatus] = useState<DeviceStatus>()
  const meetAt = useRef(0)
  const wake = useRef<() => void>(() => undefined)

  const look = useEffectEvent(async (): Promise<number> => {
    try {
      const found = await askDevice()
      setStatus(found)
      if (Date.now() > meetAt.current) meetAt.current = Date.now() + (await meet(found.endpointId))
      if (found.launches.some(({ state }) => state === 'opening')) return busyMs
      return found.launches.some(({ state }) => state === 'open') ? openMs : idleMs
    } catch {
      setStatus(undefined)
      meetAt.current = 0
      return absentMs
    }
  })

  useEffect(() => {
    if (!isWanted) return undefined
    let timer: ReturnType<typeof setTimeout> | undefined
    let isOver = false
    const turn = async (): Promise<void> => {
      clearTimeout(timer)
      const waitMs = document.visibilityState === 'visible' ? await look() : idleMs
      if (!isOver) timer = setTimeout(() => void turn(), waitMs)
    }
    wake.current = () => void turn()
    const seen = (): void => {
      if (document.visibilityState === 'visible') void turn()
    }
    document.addEventListener('visibilitychange', seen)
    void turn()
    return () => {
      isOver = true
      clearTimeout(timer)
      document.removeEventListener('visibilitychange', seen)
    }
  }, [isWanted])

  return {
    status,
    async open(workspaceId, wish) {
      const { endpointId } = status ?? (await askDevice())
      const { code } = await api.handoff({ workspaceId, endpointId, ...wish })
      await handToDevice(code)
      wake.current()
    },
    async openByScheme(workspaceId) {
      const { code } = await api.handoff({ workspaceId })
      location.assign(formatLaunchUrl({ site: location.origin, code }))
    },
  }
}

/** Has the site see that this page is shown on the device. One that cannot reach the site is still one to show. @returns when to do it again, ms */
async function meet(endpointId: string): Promise<number> {
  try {
    const { code } = await api.handoff({ endpointId })
    await handToDevice(code)
    return meetAgainMs
  } catch {
    return absentMs
  }
}
