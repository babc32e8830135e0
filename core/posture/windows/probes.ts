import { z } from 'zod'
import type { Observation } from '#core/evidence/observation.ts'
import type { ClaimName } from '#core/trust/index.ts'
import { days, daysBetween } from '../limits.ts'
import { hypervisors } from '../linux/machine.ts'
import { observe, unknown } from '../observe.ts'
import type { CommandOutput, CommandProbe, Judging } from '../probe.ts'
import { judgePrograms } from '../programs.ts'
import { linesOf, oneOrMore, parseJson } from '../read-text.ts'

/** Microsoft releases security updates once a month; grace counts from there. */
const monthDays = 31

/**
 * What Windows tells about itself by PowerShell, one command for each fact. Enumerations and times are asked for as text: how
 * `ConvertTo-Json` writes them differs between versions of PowerShell.
 */
export const windowsProbes: readonly CommandProbe[] = [
  probe('defender', ['endpoint.antivirus'], {
    script: json('Get-MpComputerStatus', [
      'AMServiceEnabled',
      'AntivirusEnabled',
      'RealTimeProtectionEnabled',
      text('AMRunningMode'),
      'AMProductVersion',
      'AntivirusSignatureVersion',
      time('AntivirusSignatureLastUpdated'),
    ]),
    judge: judgeDefender,
  }),
  probe('security-center', ['endpoint.antivirus'], {
    script: json('Get-CimInstance -Namespace root/SecurityCenter2 -ClassName AntiVirusProduct', [
      'displayName',
      'productState',
    ]),
    judge: judgeSecurityCenter,
  }),
  probe('bitlocker', ['endpoint.diskEncryption'], {
    script: json('Get-BitLockerVolume', [
      text('VolumeType'),
      text('VolumeStatus'),
      text('ProtectionStatus'),
      text('LockStatus'),
    ]),
    judge: judgeBitLocker,
  }),
  probe('windows-firewall', ['endpoint.firewall'], {
    script: json('Get-NetFirewallProfile -PolicyStore ActiveStore', [
      'Name',
      text('Enabled'),
      text('DefaultInboundAction'),
    ]),
    judge: judgeFirewallProfiles,
  }),
  probe('hotfix', ['endpoint.osUpdates'], {
    script: json('Get-HotFix', ['HotFixID', 'Description', time('InstalledOn')]),
    judge: judgeHotFixes,
  }),
  probe('uefi', ['endpoint.secureBoot'], {
    script: 'Confirm-SecureBootUEFI',
    judge: judgeSecureBootUefi,
  }),
  probe('computer-system', ['endpoint.machine'], {
    script: json('Get-CimInstance -ClassName Win32_ComputerSystem', ['Manufacturer', 'Model']),
    judge: judgeComputerSystem,
  }),
  probe('screen-saver', ['endpoint.screenLock'], {
    script: json(
      "Get-ItemProperty -Path 'HKCU:\\Control Panel\\Desktop','HKCU:\\Software\\Policies\\Microsoft\\Windows\\Control Panel\\Desktop','HKLM:\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Policies\\System' -ErrorAction SilentlyContinue",
      [
        'ScreenSaveActive',
        'ScreenSaverIsSecure',
        'ScreenSaveTimeOut',
        "'SCRNSAVE.EXE'",
        'InactivityTimeoutSecs',
      ],
    ),
    judge: judgeScreenSaver,
  }),
  {
    name: 'whoami',
    claims: ['endpoint.localAdmin'],
    command: ['whoami.exe', '/groups', '/fo', 'csv', '/nh'],
    judge: judgeGroups,
  },
  probe('processes', ['endpoint.edr'], {
    script: json('Get-CimInstance -ClassName Win32_Process', [
      'ProcessId',
      'ParentProcessId',
      'Name',
      'ExecutablePath',
    ]),
    judge: judgeProcesses,
  }),
]

type Judge = (output: CommandOutput, judging: Judging) => readonly Observation[]

function probe(
  name: string,
  claims: readonly ClaimName[],
  { script, judge }: { script: string; judge: Judge },
): CommandProbe {
  return {
    name,
    claims,
    command: ['powershell.exe', '-NoProfile', '-NonInteractive', '-Command', script],
    judge,
  }
}

function json(command: string, properties: readonly string[]): string {
  // Windows PowerShell writes in the code page of the machine's language, in some of which a letter ends in a backslash.
  const utf8 = 'try{[Console]::OutputEncoding=[Text.Encoding]::UTF8}catch{};'
  return `${utf8}${command} | Select-Object ${properties.join(',')} | ConvertTo-Json -Compress`
}

function text(property: string): string {
  return `@{n='${property}';e={"$($_.${property})"}}`
}

function time(property: string): string {
  return `@{n='${property}';e={if ($_.${property}) {$_.${property}.ToUniversalTime().ToString('s')+'Z'}}}`
}

/** Where `time` has none, Windows PowerShell writes `{}`, and null where the property cannot be read. */
const timeText = z.string().nullish().catch(undefined)

const defender = z.object({
  AMServiceEnabled: z.boolean(),
  AntivirusEnabled: z.boolean(),
  RealTimeProtectionEnabled: z.boolean(),
  AMRunningMode: z.string().nullish(),
  AMProductVersion: z.string().nullish(),
  AntivirusSignatureLastUpdated: timeText,
})

/**
 * In passive mode, of which EDR block mode is one, Defender stands beside another antivirus, which then says how it is: its own switches stay
 * on. Beside some it does not run at all.
 */
function judgeDefender({ stdout }: CommandOutput, { rules, now }: Judging): readonly Observation[] {
  const claim = 'endpoint.antivirus'
  const status = parseJson(stdout, defender)
  if (status === undefined) return [unknown(claim, 'defender', 'Microsoft Defender gave no answer')]
  const name = `Microsoft Defender ${status.AMProductVersion ?? ''}`.trim()
  if (/passive|edr block/i.test(status.AMRunningMode ?? '')) return []
  if (/not running/i.test(status.AMRunningMode ?? ''))
    return [unknown(claim, 'defender', `${name} does not run, perhaps for another antivirus`)]
  if (!status.AMServiceEnabled || !status.AntivirusEnabled || !status.RealTimeProtectionEnabled)
    return [observe(claim, 'off', 'defender', `${name} does not protect`)]
  const at = Date.parse(status.AntivirusSignatureLastUpdated ?? '')
  if (Number.isNaN(at))
    return [unknown(claim, 'defender', `${name}: the age of its signatures cannot be told`)]
  const age = daysBetween(at, now)
  const value = age > rules.limits.signatureMaxAgeDays ? 'outdated' : 'on'
  return [observe(claim, value, 'defender', `${name} protects, signatures ${days(age)} old`)]
}

const products = oneOrMore(z.object({ displayName: z.string(), productState: z.int().min(0) }))

/** Bits of productState: 0xf000 is 0x1000 when the product is on, 0x00f0 is 0 when its signatures are up to date. */
function judgeSecurityCenter({ stdout }: CommandOutput): readonly Observation[] {
  const claim = 'endpoint.antivirus'
  const known = parseJson(stdout, products)
  // Servers have no Security Center.
  if (known === undefined) return []
  const on = known.filter(({ productState }) => (productState & 0xf000) === 0x1000)
  const names = (on.length > 0 ? on : known).map(({ displayName }) => displayName).join(', ')
  if (on.length === 0) return [observe(claim, 'off', 'security-center', `not on: ${names}`)]
  const isCurrent = on.some(({ productState }) => (productState & 0x00f0) === 0)
  return [
    isCurrent
      ? observe(claim, 'on', 'security-center', `on: ${names}`)
      : observe(claim, 'outdated', 'security-center', `signatures out of date: ${names}`),
  ]
}

const volumes = oneOrMore(
  z.object({ VolumeType: z.string(), VolumeStatus: z.string(), ProtectionStatus: z.string() }),
)

/** A volume whose protection is suspended is encrypted with a key that lies beside it: off. A locked one is protected. */
function judgeBitLocker({ stdout }: CommandOutput): readonly Observation[] {
  const claim = 'endpoint.diskEncryption'
  const all = parseJson(stdout, volumes)
  if (all === undefined || !all.some(({ VolumeType }) => VolumeType === 'OperatingSystem'))
    return [unknown(claim, 'bitlocker', 'BitLocker gave no answer; only administrators may ask it')]
  const plain = all.filter(({ ProtectionStatus }) => ProtectionStatus === 'Off')
  if (plain.length > 0) {
    const hasSystem = plain.some(({ VolumeType }) => VolumeType === 'OperatingSystem')
    const rest = `${plain.length} of ${all.length} volumes`
    return [observe(claim, 'off', 'bitlocker', `not protected: ${hasSystem ? 'system, ' : ''}${rest}`)]
  }
  const running = all.filter(({ VolumeStatus }) => !['FullyEncrypted', ''].includes(VolumeStatus))
  return [
    running.length > 0
      ? unknown(claim, 'bitlocker', `encryption has not ended: ${running.length} of ${all.length} volumes`)
      : observe(claim, 'on', 'bitlocker', `protected: ${all.length} of ${all.length} volumes`),
  ]
}

const profiles = oneOrMore(
  z.object({ Name: z.string(), Enabled: z.string(), DefaultInboundAction: z.string() }),
)

function judgeFirewallProfiles({ stdout }: CommandOutput): readonly Observation[] {
  const claim = 'endpoint.firewall'
  const all = parseJson(stdout, profiles) ?? []
  if (all.length === 0) return [unknown(claim, 'windows-firewall', 'the firewall gave no answer')]
  const open = all.filter(
    ({ Enabled, DefaultInboundAction }) => Enabled !== 'True' || DefaultInboundAction === 'Allow',
  )
  const names = (open.length > 0 ? open : all).map(({ Name }) => Name).join(', ')
  return [
    open.length > 0
      ? observe(claim, 'off', 'windows-firewall', `off or open: ${names}`)
      : observe(claim, 'on', 'windows-firewall', `on: ${names}`),
  ]
}

const hotFixes = oneOrMore(
  z.object({
    HotFixID: z.string(),
    Description: z.string().nullish(),
    InstalledOn: timeText,
  }),
)

function judgeHotFixes({ stdout }: CommandOutput, { rules, now }: Judging): readonly Observation[] {
  const claim = 'endpoint.osUpdates'
  const [newest] = (parseJson(stdout, hotFixes) ?? [])
    .filter(({ Description }) => /security/i.test(Description ?? ''))
    .map(({ HotFixID, InstalledOn }) => ({ id: HotFixID, at: Date.parse(InstalledOn ?? '') }))
    // Older versions read the date in the order of the machine's culture: one that has not come is misread.
    .filter(({ at }) => at <= now)
    .toSorted((a, b) => b.at - a.at)
  if (newest === undefined) return [unknown(claim, 'hotfix', 'no security update is on record')]
  const age = daysBetween(newest.at, now)
  const value = age > monthDays + rules.limits.updateGraceDays ? 'overdue' : 'current'
  return [observe(claim, value, 'hotfix', `last security update ${newest.id}, ${days(age)} ago`)]
}

/**
 * `True`, `False`, or an error: 0xC0000002 where there is no UEFI, 0xC0000100 where it has no such variable, access denied where the asker is
 * no administrator. Texts of errors are in the machine's language.
 */
function judgeSecureBootUefi({ stdout, stderr }: CommandOutput): readonly Observation[] {
  const claim = 'endpoint.secureBoot'
  const [answer = ''] = linesOf(stdout.trim())
  if (answer === 'True') return [observe(claim, 'on', 'uefi', 'Secure Boot is on')]
  if (answer === 'False') return [observe(claim, 'off', 'uefi', 'Secure Boot is off')]
  return [
    /0xC0000(002|100)/i.test(stderr)
      ? observe(claim, 'off', 'uefi', 'this system did not boot by a UEFI that has Secure Boot')
      : unknown(claim, 'uefi', 'the firmware could not be asked; only administrators may'),
  ]
}

const system = z.object({ Manufacturer: z.string(), Model: z.string() })

/** HypervisorPresent is no sign: it is true on hardware, too, where Windows runs its own. */
function judgeComputerSystem({ stdout }: CommandOutput): readonly Observation[] {
  const claim = 'endpoint.machine'
  const found = parseJson(stdout, system)
  if (found === undefined) return [unknown(claim, 'computer-system', 'Windows does not name the machine')]
  const named = hypervisors.find(([pattern]) => pattern.test(found.Manufacturer) || pattern.test(found.Model))
  return [
    named === undefined
      ? observe(claim, 'physical', 'computer-system', 'no sign of a hypervisor')
      : observe(claim, 'vm', 'computer-system', `virtual machine (${named[1]})`),
  ]
}

const registryText = z.union([z.string(), z.int()]).nullish()
const screenSaver = oneOrMore(
  z.object({
    ScreenSaveActive: registryText,
    ScreenSaverIsSecure: registryText,
    ScreenSaveTimeOut: registryText,
    'SCRNSAVE.EXE': registryText,
    InactivityTimeoutSecs: registryText,
  }),
)

/**
 * The person's settings, those that policy puts over them, and the machine's limit of inactivity: any of them may lock. A screen saver that is
 * on, secure, and none does not.
 */
function judgeScreenSaver({ stdout }: CommandOutput, { rules }: Judging): readonly Observation[] {
  const claim = 'endpoint.screenLock'
  const keys = parseJson(stdout, screenSaver)
  if (keys === undefined) return [unknown(claim, 'screen-saver', 'the settings of the screen cannot be read')]
  // Policy stands after what the person chose.
  const last = (name: keyof (typeof keys)[number]): string | number | undefined =>
    keys.findLast((key) => (key[name] ?? '') !== '')?.[name] ?? undefined
  const setting = (name: keyof (typeof keys)[number]): number => Number(last(name) ?? 0)
  const isSaver = last('SCRNSAVE.EXE') !== undefined && setting('ScreenSaveActive') === 1
  const locks = [
    setting('InactivityTimeoutSecs'),
    isSaver && setting('ScreenSaverIsSecure') === 1 ? setting('ScreenSaveTimeOut') : 0,
  ].filter((seconds) => seconds > 0)
  if (locks.length === 0) return [observe(claim, 'off', 'screen-saver', 'the screen is not locked')]
  const after = Math.min(...locks)
  const value = after <= rules.limits.lockAfterSec ? 'on' : 'off'
  return [observe(claim, value, 'screen-saver', `the screen is locked after ${after} s`)]
}

/** S-1-5-32-544 is the group of administrators in every language; User Account Control holds it back, and it counts. */
function judgeGroups({ stdout }: CommandOutput): readonly Observation[] {
  const claim = 'endpoint.localAdmin'
  if (!stdout.includes('"S-1-')) return [unknown(claim, 'whoami', 'the groups of the account cannot be read')]
  const isAdmin = stdout.includes('"S-1-5-32-544"')
  return [
    observe(
      claim,
      isAdmin ? 'yes' : 'no',
      'whoami',
      `the person is ${isAdmin ? 'in' : 'not in'} the group of administrators`,
    ),
  ]
}

const processes = oneOrMore(
  z.object({
    ProcessId: z.int(),
    ParentProcessId: z.int(),
    Name: z.string(),
    ExecutablePath: z.string().nullish(),
  }),
)

function judgeProcesses({ stdout }: CommandOutput, { rules }: Judging): readonly Observation[] {
  const claim = 'endpoint.edr'
  if (rules.edr.length === 0) return []
  const all = parseJson(stdout, processes)
  if (all === undefined) return [unknown(claim, 'processes', 'the running programs cannot be read')]
  const facts = all.map(({ ProcessId, ParentProcessId, Name, ExecutablePath }) => ({
    pid: ProcessId,
    parent: ParentProcessId,
    name: Name,
    executable: ExecutablePath ?? undefined,
  }))
  return judgePrograms(claim, rules.edr, facts, 'processes')
}
