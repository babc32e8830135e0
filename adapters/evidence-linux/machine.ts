import { join } from 'node:path'
import type { Collector } from '#core/evidence/observation.ts'
import { judgeMachine } from '#core/posture/index.ts'
import { exists } from './firmware.ts'
import { readText } from './read-bounded.ts'

/** @param root `/` */
export function machineCollector(root: string): Collector {
  const read = async (path: string): Promise<string | undefined> =>
    // Some of these only root may read, and some nobody.
    readText(join(root, path), { maxBytes: 65_536 }).catch(() => undefined)
  return {
    name: 'machine',
    claims: ['endpoint.machine'],
    collect: async () => {
      const dmi = await Promise.all(
        ['sys_vendor', 'product_name', 'board_vendor', 'bios_vendor'].map(async (name) =>
          read(`sys/class/dmi/id/${name}`),
        ),
      )
      const environment = (await read('proc/1/environ')) ?? ''
      const container = environment.split('\0').find((word) => word.startsWith('container='))
      return [
        judgeMachine({
          manager: (await read('run/systemd/container')) ?? container?.slice('container='.length),
          hasPodmanFile: await exists(join(root, 'run/.containerenv')),
          hasDockerFile: await exists(join(root, '.dockerenv')),
          groups: await read('proc/1/cgroup'),
          kernel: await read('proc/sys/kernel/osrelease'),
          dmi: dmi.filter((text) => text !== undefined),
          hypervisor: await read('sys/hypervisor/type'),
          cpuInfo: await read('proc/cpuinfo'),
          deviceTree: await read('proc/device-tree/hypervisor/compatible'),
        }),
      ]
    },
  }
}
