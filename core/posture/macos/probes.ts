import { z } from 'zod'
import type { Observation } from '#core/evidence/observation.ts'
import { days, daysBetween } from '../limits.ts'
import { observe, unknown } from '../observe.ts'
import type { CommandOutput, CommandProbe, Judging } from '../probe.ts'
import { judgePrograms } from '../programs.ts'
import { linesOf, parseJson } from '../read-text.ts'

/** Apple mends the system about every six weeks; grace counts from there. */
const releaseDays = 45
/** XProtect's signatures come every one to four weeks: the limit for daily signatures is too short for them. */
const xprotectDays = 60

/** What macOS tells about itself, one command for each fact. */
export const macosProbes: readonly CommandProbe[] = [
  {
    name: 'filevault',
    claims: ['endpoint.diskEncryption'],
    command: ['/usr/bin/fdesetup', 'status'],
    judge: judgeFileVault,
  },
  {
    name: 'application-firewall',
    claims: ['endpoint.firewall'],
    command: ['/usr/libexec/ApplicationFirewall/socketfilterfw', '--getglobalstate'],
    judge: judgeApplicationFirewall,
  },
  {
    name: 'csrutil',
    claims: ['endpoint.secureBoot'],
    command: ['/usr/bin/csrutil', 'status'],
    judge: judgeIntegrityProtection,
  },
  {
    name: 'secure-boot',
    claims: ['endpoint.secureBoot'],
    command: ['/usr/sbin/system_profiler', 'SPiBridgeDataType', '-json'],
    judge: judgeBridge,
  },
  {
    name: 'install-history',
    claims: ['endpoint.osUpdates', 'endpoint.antivirus'],
    command: ['/usr/sbin/system_profiler', 'SPInstallHistoryDataType', '-json'],
    judge: judgeInstallHistory,
  },
  {
    name: 'screen-lock',
    claims: ['endpoint.screenLock'],
    command: ['/usr/sbin/sysadminctl', '-screenLock', 'status'],
    judge: judgeScreenLockStatus,
  },
  {
    name: 'accounts',
    claims: ['endpoint.localAdmin'],
    command: ['/usr/bin/id', '-Gn'],
    judge: judgeGroups,
  },
  {
    name: 'machine',
    claims: ['endpoint.machine'],
    command: ['/usr/sbin/sysctl', '-n', 'kern.hv_vmm_present'],
    judge: judgeMonitor,
  },
  {
    name: 'processes',
    claims: ['endpoint.edr'],
    // Without -ww lines end after 79 characters where there is no terminal.
    command: ['/bin/ps', '-axwwo', 'pid=,ppid=,comm='],
    judge: judgeProcesses,
  },
]

/** `FileVault is On.`, perhaps followed by how far encryption or decryption is, or `On, but` what still has to happen. */
function judgeFileVault({ stdout }: CommandOutput): readonly Observation[] {
  const claim = 'endpoint.diskEncryption'
  if (/Decryption in progress|FileVault is Off/i.test(stdout))
    return [observe(claim, 'off', 'filevault', 'FileVault is off')]
  if (/Encryption in progress|FileVault is On,/i.test(stdout))
    return [unknown(claim, 'filevault', 'FileVault is at work, or waits for a restart')]
  return [
    /FileVault is On/i.test(stdout)
      ? observe(claim, 'on', 'filevault', 'FileVault is on')
      : unknown(claim, 'filevault', 'FileVault gave no answer'),
  ]
}

/** `Firewall is enabled. (State = 1)`; 2 blocks everything that comes in. */
function judgeApplicationFirewall({ stdout }: CommandOutput): readonly Observation[] {
  const claim = 'endpoint.firewall'
  const state = /State = (\d)/.exec(stdout)?.[1]
  if (state === undefined)
    return [unknown(claim, 'application-firewall', 'the application firewall gave no answer')]
  return [
    observe(
      claim,
      state === '0' ? 'off' : 'on',
      'application-firewall',
      `the application firewall is ${state === '0' ? 'off' : 'on'}`,
    ),
  ]
}

/**
 * Without System Integrity Protection what booted securely does not stay so. With it, nothing is said about booting. `enabled (Custom
 * Configuration)` is said where parts of it are off, once even where all are.
 */
function judgeIntegrityProtection({ stdout }: CommandOutput): readonly Observation[] {
  const claim = 'endpoint.secureBoot'
  const status = /System Integrity Protection status: (.*\w\)?)/.exec(stdout)?.[1]
  if (status === undefined) return [unknown(claim, 'csrutil', 'System Integrity Protection gave no answer')]
  return status === 'enabled'
    ? []
    : [observe(claim, 'off', 'csrutil', `System Integrity Protection is ${status}`)]
}

const bridge = z.object({
  SPiBridgeDataType: z.array(z.object({ ibridge_secure_boot: z.string().optional() })).max(10),
})

/** Of Macs with a T2 or Apple's own processor: `Full Security`, `Reduced Security`, …, in the language of the account that asks. */
function judgeBridge({ stdout }: CommandOutput): readonly Observation[] {
  const claim = 'endpoint.secureBoot'
  const level = parseJson(stdout, bridge)?.SPiBridgeDataType[0]?.ibridge_secure_boot
  if (level === undefined)
    return [unknown(claim, 'secure-boot', 'this Mac does not say how it checks what it boots')]
  const isFull = /^full security$/i.test(level)
  if (!isFull && !/^(reduced|permissive|medium|no) security$/i.test(level))
    return [unknown(claim, 'secure-boot', `boot security is said in words that are not known: ${level}`)]
  return [
    observe(
      claim,
      isFull ? 'on' : 'off',
      'secure-boot',
      isFull ? 'boot security is full' : 'boot security is reduced',
    ),
  ]
}

const history = z.object({
  SPInstallHistoryDataType: z
    .array(
      z.object({
        _name: z.string(),
        install_date: z.string().optional(),
        install_version: z.string().optional(),
        package_source: z.string().optional(),
      }),
    )
    .max(50_000),
})

/** The system's own updates, and those of XProtect, the antivirus that is built in. */
function judgeInstallHistory({ stdout }: CommandOutput, { rules, now }: Judging): readonly Observation[] {
  const collector = 'install-history'
  const items = (parseJson(stdout, history)?.SPInstallHistoryDataType ?? [])
    .filter(({ package_source = 'package_source_apple' }) => package_source === 'package_source_apple')
    .map((item) => ({ ...item, at: Date.parse(item.install_date ?? '') }))
    .filter(({ at }) => !Number.isNaN(at))
    .toSorted((a, b) => b.at - a.at)
  const update = items.find(({ _name }) => /^macOS\b.*\d|Security Update|Security Response/.test(_name))
  const xprotect = items.find(({ _name }) => /^XProtect(PlistConfigData|CloudKitUpdate)/.test(_name))
  const said = (item: (typeof items)[number]): string => `${item._name} ${item.install_version ?? ''}`.trim()
  const updates = ((): Observation => {
    const claim = 'endpoint.osUpdates'
    if (update === undefined) return unknown(claim, collector, 'no update of the system is on record')
    const age = daysBetween(update.at, now)
    const value = age > releaseDays + rules.limits.updateGraceDays ? 'overdue' : 'current'
    return observe(claim, value, collector, `last update ${said(update)}, ${days(age)} ago`)
  })()
  if (xprotect === undefined)
    return [updates, unknown('endpoint.antivirus', collector, 'no update of XProtect is on record')]
  const age = daysBetween(xprotect.at, now)
  const value = age > xprotectDays ? 'outdated' : 'on'
  const detail = `XProtect ${xprotect.install_version ?? ''}, signatures ${days(age)} old`
  return [updates, observe('endpoint.antivirus', value, collector, detail)]
}

/**
 * On the error channel: `screenLock delay is 300 seconds`, or `300.000000`, `screenLock delay is immediate`; `screenLock is off`, or a delay of
 * `-1.000000`.
 */
function judgeScreenLockStatus(
  { stdout, stderr }: CommandOutput,
  { rules }: Judging,
): readonly Observation[] {
  const claim = 'endpoint.screenLock'
  const said = `${stdout}\n${stderr}`
  if (/screenLock (is off|delay is -)/i.test(said))
    return [observe(claim, 'off', 'screen-lock', 'the screen is not locked')]
  const delay = /screenLock delay is (immediate|\d{1,9})/i.exec(said)?.[1]
  if (delay === undefined) return [unknown(claim, 'screen-lock', 'the settings of the screen cannot be read')]
  const after = delay.toLowerCase() === 'immediate' ? 0 : Number(delay)
  const value = after <= rules.limits.lockAfterSec ? 'on' : 'off'
  return [observe(claim, value, 'screen-lock', `the screen is locked ${after} s after it went dark`)]
}

function judgeGroups({ stdout }: CommandOutput): readonly Observation[] {
  const claim = 'endpoint.localAdmin'
  const groups = (linesOf(stdout)[0] ?? '').split(/\s+/).filter((name) => name !== '')
  if (groups.length === 0) return [unknown(claim, 'accounts', 'the groups of the account cannot be read')]
  const group = groups.find((name) => name === 'admin' || name === 'wheel')
  return [
    group === undefined
      ? observe(claim, 'no', 'accounts', 'the person is in no group of administrators')
      : observe(claim, 'yes', 'accounts', `the person is in the group ${group}`),
  ]
}

function judgeMonitor({ stdout }: CommandOutput): readonly Observation[] {
  const claim = 'endpoint.machine'
  const isPresent = stdout.trim()
  if (isPresent === '1') return [observe(claim, 'vm', 'machine', 'virtual machine (unnamed)')]
  return [
    isPresent === '0'
      ? observe(claim, 'physical', 'machine', 'no sign of a hypervisor')
      : unknown(claim, 'machine', 'this Mac does not say whether it is a virtual one'),
  ]
}

function judgeProcesses({ stdout }: CommandOutput, { rules }: Judging): readonly Observation[] {
  const facts = linesOf(stdout).flatMap((line) => {
    const [, pid, parent, executable] = /^\s*(\d+)\s+(\d+)\s+(.*\S)\s*$/.exec(line) ?? []
    if (executable === undefined) return []
    return [{ pid: Number(pid), parent: Number(parent), name: executable, executable }]
  })
  if (rules.edr.length > 0 && facts.length === 0)
    return [unknown('endpoint.edr', 'processes', 'the running programs cannot be read')]
  return judgePrograms('endpoint.edr', rules.edr, facts, 'processes')
}
