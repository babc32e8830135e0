import type { Observation } from '#core/evidence/observation.ts'
import { observe, unknown } from '../observe.ts'
import { linesOf } from '../read-text.ts'

/** What gives a container or virtual machine away. Texts as the kernel's files have them, undefined where there is no such file. */
export interface MachineFacts {
  /** Content of `/run/systemd/container`, or `container=` in the environment of process 1. */
  readonly manager: string | undefined
  /** `/run/.containerenv` is there. */
  readonly hasPodmanFile: boolean
  /** `/.dockerenv` is there. */
  readonly hasDockerFile: boolean
  /** `/proc/1/cgroup`. */
  readonly groups: string | undefined
  /** `/proc/sys/kernel/osrelease`. */
  readonly kernel: string | undefined
  /** `sys_vendor`, `product_name`, `board_vendor`, `bios_vendor` of `/sys/class/dmi/id`. */
  readonly dmi: readonly string[]
  /** `/sys/hypervisor/type`. */
  readonly hypervisor: string | undefined
  /** `/proc/cpuinfo`. */
  readonly cpuInfo: string | undefined
  /** `/proc/device-tree/hypervisor/compatible`. */
  readonly deviceTree: string | undefined
}

const claim = 'endpoint.machine'
const collector = 'machine'

/** How firmware tables name hypervisors; after systemd-detect-virt(1), which looks at the same places. */
export const hypervisors: readonly (readonly [pattern: RegExp, name: string])[] = [
  [/KVM|Amazon EC2|Google Compute Engine|OpenStack|DigitalOcean|\bAHV\b/i, 'KVM'],
  [/QEMU|Bochs|SeaBIOS/i, 'QEMU'],
  [/VMware|VMW/i, 'VMware'],
  [/VirtualBox|innotek/i, 'VirtualBox'],
  [/Virtual Machine|Hyper-V/i, 'Hyper-V'],
  [/Xen/i, 'Xen'],
  [/Parallels/i, 'Parallels'],
  [/BHYVE/i, 'bhyve'],
  [/Apple Virtualization|VirtualMac/i, 'Apple Virtualization'],
  [/Firecracker/i, 'Firecracker'],
]

export function judgeMachine(facts: MachineFacts): Observation {
  const container = containerOf(facts)
  const virtual = hypervisorOf(facts)
  if (container !== undefined) {
    const below = virtual === undefined ? '' : ` in a virtual machine (${virtual})`
    return observe(claim, 'container', collector, `container (${container})${below}`)
  }
  if (virtual !== undefined) return observe(claim, 'vm', collector, `virtual machine (${virtual})`)
  if (facts.cpuInfo === undefined || facts.cpuInfo === '')
    return unknown(claim, collector, 'the processor does not say whether a hypervisor is below')
  return observe(claim, 'physical', collector, 'no sign of a hypervisor or container')
}

function containerOf({
  manager,
  hasPodmanFile,
  hasDockerFile,
  groups = '',
  kernel = '',
}: MachineFacts): string | undefined {
  if (/microsoft|WSL/i.test(kernel)) return 'WSL'
  const named = /^[a-z][a-z0-9-]{0,20}/.exec(manager ?? '')?.[0]
  if (named !== undefined) return named
  if (hasPodmanFile) return 'podman'
  if (hasDockerFile) return 'docker'
  return /[/:](docker|lxc|kubepods|libpod|machine\.slice)[/-]/.exec(groups)?.[1]
}

/** @returns what runs below; `unnamed` when only the processor gives it away */
export function hypervisorOf({
  dmi,
  hypervisor,
  cpuInfo = '',
  deviceTree,
}: Pick<MachineFacts, 'dmi' | 'hypervisor' | 'cpuInfo' | 'deviceTree'>): string | undefined {
  const named = hypervisors.find(([pattern]) => dmi.some((text) => pattern.test(text)))
  if (named !== undefined) return named[1]
  if (hypervisor !== undefined && hypervisor !== '') return hypervisor.trim()
  if (deviceTree !== undefined && deviceTree !== '') return deviceTree.replaceAll('\0', ' ').trim()
  const flags = linesOf(cpuInfo).find((line) => /^flags\s*:/.test(line)) ?? ''
  return flags.split(/\s+/).includes('hypervisor') ? 'unnamed' : undefined
}
