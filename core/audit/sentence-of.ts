import type { AuditKind } from './leaf.ts'

/** Entries of the audit log as sentences for people. */

/** An entry as it came over the API, perhaps of a kind that this version does not know. */
export interface ToldEntry {
  readonly kind: string
  readonly actor: { readonly type: string; readonly id: string }
  readonly subject?: string | undefined
  readonly data: unknown
}

/**
 * What happened, in a sentence.
 *
 * @param names of the people and machines that ids name; ids without one are shortened
 */
export function sentenceOf(entry: ToldEntry, names: Readonly<Record<string, string>>): string {
  const teller = new Teller(entry, names)
  const tell = Object.hasOwn(sentences, entry.kind) ? sentences[entry.kind as AuditKind] : undefined
  return tell === undefined ? `${teller.actor} did something: ${entry.kind}.` : tidy(tell(teller))
}

const sentences: Readonly<Record<AuditKind, (entry: Teller) => string>> = {
  'sign-in': (e) => `${e.actor} signed in from ${e.text('address')}`,
  'sign-in-refused': (e) =>
    `Somebody at ${e.text('address')} failed to sign in${e.subject === '' ? '' : ` as ${e.subject}`}`,
  'sign-out': (e) => `${e.actor} signed out`,
  decision: decided,
  'ticket-issued': (e) => `${e.actor} got a ticket to the session on ${e.named('host')}`,
  'ticket-redeemed': (e) => `The ticket was used at ${e.actor}`,
  'handoff-issued': (e) => `${e.actor} got a code to open ${e.text('workspace', 'this site')} on a device`,
  'handoff-redeemed': (e) => `${e.actor} brought the code of ${e.subject} to open ${e.text('workspace')}`,
  'handoff-refused': (e) => `${e.actor} brought a code that was refused: ${e.text('code')}`,
  'session-started': (e) => {
    const image = e.text('image') === '' ? '' : ` from ${e.text('image')}:${e.text('version')}`
    const where = e.named('endpoint') === '' ? `host ${e.named('host')}` : e.named('endpoint')
    return `${e.actor} opened ${e.text('workspace')} on ${where}, ${modeName(e.text('mode'))}${image}`
  },
  'session-changed': (e) =>
    e.is('frozen')
      ? `The session was frozen: ${e.text('reason')}`
      : `The rights of the session became ${e.list('rights')}`,
  'session-ended': (e) => `The session of ${e.named('person')} ended: ${e.text('reason')}`,
  'key-released': (e) =>
    `The key of ${e.text('image')}:${e.text('version')} went to ${e.named('endpoint')}, sealed, for ${e.actor}; what is written is ${fates[e.text('overlay')] ?? 'discarded'}`,
  'lease-withdrawn': (e) => `${e.actor} took the key back from ${e.named('endpoint')}: ${e.text('reason')}`,
  'lease-ended': (e) =>
    e.text('code') === 'LEASE_EXPIRED' && e.type !== 'endpoint'
      ? `The lease ran out: ${e.named('endpoint')} must have stopped by its own clock`
      : `${e.named('endpoint')} said that nothing is readable there any more: ${e.text('reason')}`,
  'replica-kept': (e) =>
    `What is written on ${e.actor} for ${e.named('person')} on ${e.text('image')}:${e.text('version')} is copied to the data centre, encrypted`,
  'replica-read': (e) =>
    `The copy in the data centre of what ${e.named('person')} wrote on ${e.text('image')}:${e.text('version')} was read by ${e.actor}, encrypted`,
  'replica-removed': (e) =>
    `${e.actor} removed the copy in the data centre of what ${e.named('person')} wrote on ${e.text('image')}:${e.text('version')}: ${e.text('reason')}`,
  'discard-asked': (e) =>
    `${e.actor} had ${writtenBy(e)} discarded on ${e.named('endpoint') || `host ${e.named('host')}`}, which does so when it hears of that`,
  discarded: (e) => `${e.actor} said that ${writtenBy(e)} is there no more`,
  'trust-changed': (e) => `What is known of ${e.subject} changed: ${e.changes()}`,
  'evidence-refused': (e) => `Evidence of ${e.actor} was not taken: ${e.text('reason', e.text('code'))}`,
  'statement-made': (e) => `${e.actor} made statements about ${e.subject}`,
  'alarm-raised': (e) => `An alarm was raised: ${e.text('message', e.text('key'))}`,
  'alarm-ended': (e) => `The alarm ${e.text('key')} ended`,
  'image-registered': (e) => `${e.actor} registered the image ${e.subject}`,
  'release-proposed': (e) =>
    e.is('withdrawn')
      ? `${e.actor} withdrew what was proposed for ${e.subject}`
      : `${e.actor} proposed ${releasedIn(e)}`,
  'release-signed': (e) => `${e.actor} brought a signature on ${releasedIn(e)}`,
  'release-published': (e) => `${e.actor} published ${e.listOf('published', 'role') || 'release metadata'}`,
  'channel-changed': (e) =>
    `${e.actor} pointed ${e.subject} at ${e.text('next') === '' ? e.text('current') : waveOf(e)}`,
  'admin-change': (e) =>
    e.is('acknowledged')
      ? `${e.actor} looks after an alarm`
      : `${e.actor} made a change: ${e.text('change', e.text('evidence'))} ${e.subject}`,
  'policy-activated': (e) => `${e.actor} activated the policy ${e.text('digest').slice(0, 12)}`,
  'enrolment-token': (e) => `${e.actor} made a token for the ${e.text('kind')} ${e.text('name')}`,
  'enrolment-requested': (e) => `A machine that calls itself ${e.text('name')} asked to be let in`,
  enrolled: (e) =>
    e.is('renewal')
      ? `The certificate of ${e.text('name')} was renewed`
      : `${e.text('name')} was enrolled as ${e.text('kind')}`,
  'boot-changed': (e) => `${e.actor} booted something else than expected: ${e.list('difference')}`,
  revoked: (e) => `${e.actor} revoked ${e.text('name', e.subject)}`,
}

/** What becomes of what is written, by the obligation. */
const fates: Readonly<Record<string, string>> = {
  keep: 'kept',
  replicate: 'kept, and copied to the data centre',
}

function writtenBy(e: Teller): string {
  if (e.text('account') !== '') return `the home ${e.text('account')} of ${e.named('person')}`
  const workspace = e.text('workspace')
  return `what ${e.named('person')} wrote${workspace === '' ? '' : ` in virtual machines of ${workspace}`}`
}

function releasedIn(e: Teller): string {
  const [version, content] = [e.firstOf('added', 'version'), e.firstOf('added', 'contentVersion')]
  if (version !== '')
    return `${e.subject}:${version}${content === version ? '' : `, again the image of ${content}`}`
  const retired = e.firstOf('retired', 'version')
  return retired === '' ? e.subject : `the retirement of ${e.subject}:${retired}`
}

function waveOf(e: Teller): string {
  const first = [
    ...(e.list('groups') === 'none' ? [] : [`the groups ${e.list('groups')}`]),
    ...(e.list('endpoints') === 'none' ? [] : ['some by name']),
    `${e.text('percent')} % of the endpoints`,
  ]
  return `${e.text('next')} for ${first.join(' and ')}; the others stay at ${e.text('current')}`
}

function decided(e: Teller): string {
  const cause = causes[e.text('cause')] ?? e.text('cause')
  const zone = e.inner('zone', 'name')
  const from = zone === '' ? '' : ` from zone ${zone}`
  const mode = e.text('mode')
  if (mode !== '') return `${e.subject} may use ${e.text('workspace')}${from}, ${modeName(mode)} (${cause})`
  return `${e.subject} may not use ${e.text('workspace')}${from} (${cause}): ${e.firstOf('refused', 'reason')}`
}

const causes: Readonly<Record<string, string>> = {
  launch: 'at a launch',
  reconnect: 'on coming back',
  group: 'a group changed',
  zone: 'the network changed',
  policy: 'the policy changed',
  evidence: 'evidence changed',
  sweep: 'looked at regularly',
}

function modeName(mode: string): string {
  return mode.replace('-', ' ')
}

/** What was missing leaves no gaps. */
function tidy(sentence: string): string {
  const text = sentence
    .replace(/\s+/g, ' ')
    .replace(/: $|:\.?$/, '')
    .trim()
  return /[.!?]$/.test(text) ? text : `${text}.`
}

/** Reads an entry's fields as words; what is not there, or is something else, is nothing. */
class Teller {
  readonly type: string
  readonly #entry: ToldEntry
  readonly #names: Readonly<Record<string, string>>

  constructor(entry: ToldEntry, names: Readonly<Record<string, string>>) {
    this.type = entry.actor.type
    this.#entry = entry
    this.#names = names
  }

  get actor(): string {
    const { type, id } = this.#entry.actor
    return type === 'system' || type === 'site' ? 'The site' : this.#name(id)
  }

  get subject(): string {
    return this.#name(this.#entry.subject ?? '')
  }

  text(name: string, otherwise = ''): string {
    return wordOf(this.#field(name)) || otherwise
  }

  /** The name of the person or machine whose id it is. */
  named(name: string): string {
    return this.#name(this.text(name))
  }

  is(name: string): boolean {
    return this.#field(name) === true
  }

  list(name: string): string {
    const value = this.#field(name)
    return (Array.isArray(value) ? value.map(wordOf).filter(Boolean).join(', ') : '') || 'none'
  }

  inner(name: string, field: string): string {
    return wordOf(fieldOf(this.#field(name), field))
  }

  firstOf(name: string, field: string): string {
    const value = this.#field(name)
    return Array.isArray(value) ? wordOf(fieldOf(value[0], field)) : ''
  }

  listOf(name: string, field: string): string {
    const value = this.#field(name)
    return Array.isArray(value)
      ? value
          .map((one) => wordOf(fieldOf(one, field)))
          .filter(Boolean)
          .join(', ')
      : ''
  }

  changes(): string {
    const value = this.#field('changes')
    if (!Array.isArray(value)) return ''
    return value
      .map((one) => [wordOf(fieldOf(one, 'claim')), wordOf(fieldOf(one, 'from')), wordOf(fieldOf(one, 'to'))])
      .map(([claim, from, to]) => `${claim} from ${from} to ${to}`)
      .join(', ')
  }

  #field(name: string): unknown {
    return fieldOf(this.#entry.data, name)
  }

  #name(id: string): string {
    const known = Object.hasOwn(this.#names, id) ? this.#names[id] : undefined
    return known ?? (/^[0-9a-f]{8}-[0-9a-f-]{27}$/.test(id) ? `${id.slice(0, 8)}…` : id)
  }
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? (value as Readonly<Record<string, unknown>>)[name]
    : undefined
}

function wordOf(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : ''
}
