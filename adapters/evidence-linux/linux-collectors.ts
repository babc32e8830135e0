import type { PostureRules, WatchingCollector } from '#core/posture/index.ts'
import { clamdCollector, clamdConfigurations } from './clamd.ts'
import { debuggersCollector } from './debuggers.ts'
import { disksCollector } from './disks.ts'
import { firewallCollector } from './firewall.ts'
import { firmwareCollector } from './firmware.ts'
import { machineCollector } from './machine.ts'
import { accountsCollector, peopleHere, screenLockCollector } from './people.ts'
import { programsCollector } from './programs.ts'
import { updatesCollector } from './updates.ts'

export interface LinuxOptions {
  readonly rules: PostureRules
  /** Unix time, ms. */
  readonly now: () => number
}

/** Everything that looks at a Linux endpoint. Most see more as root; what they may not see is unknown. */
export function linuxCollectors({ rules, now }: LinuxOptions): readonly WatchingCollector[] {
  const configurations =
    rules.clamdConfiguration === undefined ? clamdConfigurations : [rules.clamdConfiguration]
  return [
    updatesCollector({ root: '/', limits: rules.limits, now }),
    clamdCollector({ configurations, rules, now }),
    programsCollector('/proc', rules),
    firewallCollector({ net: '/proc/self/net', enter: [] }),
    disksCollector({ proc: '/proc', sys: '/sys' }),
    firmwareCollector('/sys/firmware/efi'),
    machineCollector('/'),
    accountsCollector(peopleHere, '/etc'),
    screenLockCollector(peopleHere, '/proc', rules.limits),
    debuggersCollector('/proc'),
  ]
}
