import type { ClaimSource } from './words.ts'

/** Every claim that a policy can speak about. The part before the dot says what the claim is about. */
export const claimNames = [
  'endpoint.management',
  'endpoint.reporting',
  'endpoint.deviceKey',
  'endpoint.diskEncryption',
  'endpoint.osUpdates',
  'endpoint.antivirus',
  'endpoint.edr',
  'endpoint.firewall',
  'endpoint.secureBoot',
  'endpoint.bootState',
  'endpoint.screenLock',
  'endpoint.localAdmin',
  'endpoint.debugger',
  'endpoint.clock',
  'endpoint.machine',
  'network.zone',
  'network.interception',
  'network.vpn',
  'network.integrity',
  'person.signIn',
] as const
export type ClaimName = (typeof claimNames)[number]

/** What is known of one claim before anybody has looked. */
export const unknownValue = 'unknown'

/** What one claim can say. */
export interface ClaimKind {
  /**
   * Worst first, best last. What stands before `unknown` is known to be bad, what stands after it is known
   * to be good: so a self-reported fault lowers trust and a self-reported virtue does nothing (I5).
   */
  readonly values: readonly string[]
  /** The best source that ordinarily proves this claim; what an unlock may assume once the person has acted. */
  readonly provenBy: Exclude<ClaimSource, 'self'>
  /** Seconds after which the claim is unknown again. */
  readonly maxAgeSec: number
  /** What people call it. */
  readonly label: string
  /** One sentence that tells a person how to reach the best value; absent when they cannot change it. */
  readonly remedy?: string
  /** Where another sentence leads to a value below the best. */
  readonly remedies?: Readonly<Record<string, string>>
}

/** Endpoints report every 60 s; after two silent periods nothing is known of them. */
const evidence = { provenBy: 'corroborated', maxAgeSec: 120 } as const
const attested = { provenBy: 'attested', maxAgeSec: 120 } as const
const observed = { provenBy: 'server', maxAgeSec: 120 } as const
const onOff = ['off', 'unknown', 'on'] as const

/** The claim vocabulary. A claim that is not in it does not reach the policy. */
export const claimVocabulary: Readonly<Record<ClaimName, ClaimKind>> = {
  'endpoint.management': {
    ...observed,
    values: ['unmanaged', 'unknown', 'managed'],
    label: 'Management',
    remedy: 'Use a device that your organisation manages, or have this one enrolled',
  },
  'endpoint.reporting': {
    ...observed,
    values: ['silent', 'unknown', 'current'],
    label: 'Reports of this device',
    remedy: 'Start the Trustcast service on this device, and connect it to the site',
  },
  'endpoint.deviceKey': {
    ...attested,
    values: ['none', 'unknown', 'file', 'tpm'],
    label: 'Device key',
  },
  'endpoint.diskEncryption': {
    ...evidence,
    values: onOff,
    label: 'Disk encryption',
    remedy: 'Turn on disk encryption on this device',
  },
  'endpoint.osUpdates': {
    ...evidence,
    values: ['overdue', 'unknown', 'current'],
    label: 'System updates',
    remedy: "Install this device's system updates",
  },
  'endpoint.antivirus': {
    ...evidence,
    values: ['off', 'outdated', 'unknown', 'on'],
    label: 'Antivirus',
    remedy: 'Turn on antivirus on this device and update its signatures',
  },
  'endpoint.edr': {
    ...evidence,
    values: onOff,
    label: 'Threat detection',
    remedy: 'Start the threat detection agent on this device',
  },
  'endpoint.firewall': {
    ...evidence,
    values: onOff,
    label: 'Firewall',
    remedy: 'Turn on the firewall on this device',
  },
  'endpoint.secureBoot': {
    ...attested,
    values: onOff,
    label: 'Secure Boot',
    remedy: "Turn on Secure Boot in this device's firmware settings",
  },
  'endpoint.bootState': {
    ...attested,
    values: ['changed', 'unknown', 'expected'],
    label: 'Boot state',
  },
  'endpoint.screenLock': {
    ...evidence,
    values: onOff,
    label: 'Screen lock',
    remedy: 'Turn on the screen lock on this device',
  },
  'endpoint.localAdmin': {
    ...evidence,
    values: ['yes', 'unknown', 'no'],
    label: 'Administrator of the device',
    remedy: "Sign in to this device with an account that is not its administrator's",
  },
  'endpoint.debugger': {
    ...evidence,
    values: ['attached', 'unknown', 'absent'],
    label: 'Debugger',
    remedy: 'Close debuggers on this device',
  },
  'endpoint.clock': {
    ...observed,
    values: ['wrong', 'unknown', 'right'],
    label: 'Clock',
    remedy: "Let this device set its clock by the network's time",
  },
  'endpoint.machine': {
    ...evidence,
    values: ['container', 'vm', 'unknown', 'physical'],
    label: 'Kind of machine',
  },
  'network.zone': {
    ...observed,
    values: ['hostile', 'unknown', 'outside', 'inside'],
    label: 'Network',
    remedy: "Use your organisation's own network",
    remedies: { outside: 'Use another network' },
  },
  'network.interception': {
    ...observed,
    values: ['detected', 'unknown', 'none'],
    label: 'Interception',
    remedy: 'Use a network that does not open encrypted connections',
  },
  'network.vpn': {
    ...observed,
    values: ['no', 'unknown', 'yes'],
    label: 'VPN',
    remedy: "Connect to your organisation's VPN",
  },
  'network.integrity': {
    ...observed,
    values: ['suspicious', 'unknown', 'clean'],
    label: 'Signs of tampering on the network',
    remedy: 'Use another network: this one shows signs of tampering',
  },
  'person.signIn': {
    provenBy: 'server',
    maxAgeSec: 12 * 60 * 60,
    values: ['unknown', 'password', 'oidc', 'passkey'],
    label: 'Sign-in',
    remedy: 'Sign in with a passkey',
    remedies: { password: 'Sign in again', oidc: "Sign in through your organisation's own sign-in" },
  },
}

/** @returns true when the vocabulary has a claim of this name */
export function isClaimName(name: string): name is ClaimName {
  return Object.hasOwn(claimVocabulary, name)
}

/** @returns how good a value is, 0 the worst; that of `unknown` for a value that the vocabulary lacks */
export function rankOf(name: ClaimName, value: string): number {
  const { values } = claimVocabulary[name]
  const rank = values.indexOf(value)
  return rank === -1 ? values.indexOf(unknownValue) : rank
}

/** @returns the value that trust is highest with */
export function bestValue(name: ClaimName): string {
  return claimVocabulary[name].values.at(-1) ?? unknownValue
}

/** @returns what a person does to reach a value; empty when they cannot change the claim */
export function remedyFor(name: ClaimName, value: string): string {
  const { remedy = '', remedies = {} } = claimVocabulary[name]
  return (Object.hasOwn(remedies, value) ? remedies[value] : undefined) ?? remedy
}
