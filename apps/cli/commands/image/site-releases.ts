import type { z } from 'zod'
import { readKeyFile } from '#adapters/release-key-file/index.ts'
import { callJson } from '#apps/site-client/call.ts'
import {
  channelName,
  type ProposalView,
  proposals,
  type ReleasesView,
  releasesView,
} from '#core/api/releases.ts'
import type { TufKey } from '#core/release/index.ts'
import { usage } from '../../cli-error.ts'
import type { Output, Parsed } from '../../command.ts'
import { type Login, readLogin } from '../../login-file.ts'

/** What the release commands share: the site's API, and how people see proposals. */

export type Call = <T>(
  method: 'GET' | 'POST' | 'PUT' | 'DELETE',
  path: string,
  schema: z.ZodType<T>,
  body?: unknown,
) => Promise<T>

/** The site that this account is signed in to. */
export async function siteCall(): Promise<Call> {
  const { site, credentials }: Login = await readLogin()
  return (method, path, schema, body) =>
    callJson(site, { method, path: `/api/v1${path}`, body }, schema, credentials)
}

export async function readReleases(call: Call): Promise<ReleasesView> {
  return call('GET', '/releases', releasesView)
}

/** Proposes something and says who must sign it. */
export async function proposeAndTell(
  path: string,
  body: unknown,
  out: Output,
  schema: z.ZodType<{ readonly proposals: readonly ProposalView[] }> = proposals,
): Promise<void> {
  const call = await siteCall()
  const { proposals: made } = await call('POST', path, schema, body)
  out.result(made, () => made.map(proposalText).join('\n'))
}

/** Who has signed, who may, and what to do next. */
export function proposalText(proposal: ProposalView): string {
  const { role, version, signatures, missing, adds } = proposal
  const added = adds.map((one) => `${role}:${one.version} as release ${one.counter}`).join(', ')
  const what = nameToSign(proposal)
  return [
    `${role}, version ${version}${added === '' ? '' : `: ${added}`}`,
    ...signatures.map(
      (state) =>
        `  ${state.role}: ${state.valid.length} of ${state.threshold} signatures${namesOf(' by ', state.valid)}${
          state.missing === 0 ? '' : namesOf(', may sign: ', state.waiting)
        }`,
    ),
    missing === 0
      ? `  It is signed. Publish it: trustcast image publish ${what}`
      : `  ${missing} more must sign it: trustcast image sign ${what} --key FILE`,
  ].join('\n')
}

/** What the words of `sign` and `publish` call a proposal. */
function nameToSign({ role, adds }: ProposalView): string {
  const [added, another] = adds
  return added !== undefined && another === undefined ? `${role}:${added.version}` : role
}

function namesOf(words: string, keys: readonly { readonly name: string }[]): string {
  return keys.length === 0 ? '' : `${words}${keys.map(({ name }) => name).join(', ')}`
}

/** A role, and of an image perhaps the version that is meant: `root`, `targets`, `NAME` or `NAME:VERSION`. */
export interface Meant {
  readonly role: string
  readonly version: string | undefined
}

/** @throws {CliError} USAGE */
export function parseMeant(text: string): Meant {
  const [, role = '', version] =
    /^([a-z0-9][a-z0-9._-]{0,127})(?::([a-z0-9][a-z0-9._-]{0,127}))?$/.exec(text) ?? []
  if (role === '') throw usage(`expected root, targets, NAME or NAME:VERSION, got ${JSON.stringify(text)}`)
  return { role, version }
}

/** `--channel`, before anything is done for it. @throws {CliError} USAGE */
export function channelOf(words: Parsed): z.infer<typeof channelName> | undefined {
  const channel = words.text('channel')
  if (channel === undefined) return undefined
  const known = channelName.safeParse(channel)
  if (!known.success) throw usage(`--channel is ${channelName.options.join(' or ')}`)
  return known.data
}

/** `--threshold N` of the keys in these public files. @throws {CliError} USAGE; {KeyFileError} */
export async function keySetOf(
  words: Parsed,
  option: string,
  files: readonly string[],
): Promise<{ keys: TufKey[]; threshold: number }> {
  const threshold = wholeNumber(words.text(option), option, 1, 30)
  return { keys: await Promise.all(files.map(readKeyFile)), threshold }
}

/** @throws {CliError} USAGE */
export function wholeNumber(text: string | undefined, option: string, least: number, most: number): number {
  const value = Number(text)
  if (text === undefined || !Number.isInteger(value) || value < least || value > most) {
    throw usage(`--${option} is a number from ${least} to ${most}`)
  }
  return value
}
