import type { ProposalView } from '#core/api/releases.ts'

/** What people type for what this console cannot do: keys of people never come near a browser. */

export function signCommand(what: string): string {
  return `./trustcast image sign ${what} --key FILE`
}

export function rootCommand(): string {
  return './trustcast image root PUBLICFILE… --threshold N'
}

export function delegateCommand(name: string): string {
  return `./trustcast image delegate ${name} PUBLICFILE… --threshold N`
}

export function importCommands(): string {
  return './trustcast image import DISK.vhdx NAME:VERSION && ./trustcast image register NAME:VERSION'
}

/** What the words of `sign` call a proposal. */
export function nameToSign({ role, adds }: Pick<ProposalView, 'role' | 'adds'>): string {
  const [added, another] = adds
  return added !== undefined && another === undefined ? `${role}:${added.version}` : role
}
