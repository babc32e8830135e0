import { access } from 'node:fs/promises'
import { join } from 'node:path'
import type { Collector } from '#core/evidence/observation.ts'
import { judgeSecureBoot } from '#core/posture/index.ts'
import { namesIn, readBytes } from './read-bounded.ts'

/** GUIDs of the UEFI specification and of shim. */
const global = '8be4df61-93ca-11d2-aa0d-00e098032b8c'
const shim = '605dab50-e046-4300-abb6-3dd810dd8b23'

/** @param efi `/sys/firmware/efi` */
export function firmwareCollector(efi: string): Collector {
  const variable = async (name: string): Promise<Uint8Array | undefined> =>
    readBytes(join(efi, 'efivars', name), { maxBytes: 64 })
  return {
    name: 'efivars',
    claims: ['endpoint.secureBoot'],
    collect: async () => [
      judgeSecureBoot({
        isUefi: await exists(efi),
        hasVariables: (await namesIn(join(efi, 'efivars'))).length > 0,
        secureBoot: await variable(`SecureBoot-${global}`),
        setupMode: await variable(`SetupMode-${global}`),
        mokSbState: await variable(`MokSBStateRT-${shim}`),
      }),
    ],
  }
}

export async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}
