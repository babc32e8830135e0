import { callJson } from '#apps/site-client/call.ts'
import { type TimelineAnswer, type TimelineTopic, timelineAnswer, timelineTopics } from '#core/api/data.ts'
import { sentenceOf } from '#core/audit/sentence-of.ts'
import { usage } from '../cli-error.ts'
import type { Output } from '../command.ts'
import type { Login } from '../login-file.ts'
import { printable } from '../printable.ts'

const mostAtOnce = 200

/**
 * Shows what the log tells of one thing, oldest first, as sentences.
 *
 * @param about `workspace:ID`, `person:LOGIN`, `endpoint:NAME` and the like; ids do as well as names
 */
export async function showAbout(login: Login, about: string, last: number, out: Output): Promise<void> {
  const [, topic, name = ''] = /^([a-z]+):(.{1,100})$/.exec(about) ?? []
  if (!isTopic(topic)) {
    throw usage(`--about takes one of ${timelineTopics.join(', ')}, a colon, and its name or id`)
  }
  const entries: TimelineAnswer['entries'] = []
  let names: TimelineAnswer['names'] = {}
  for (let before: string | undefined; entries.length < last; ) {
    const limit = Math.min(mostAtOnce, last - entries.length)
    const page = await readPage(login, { [topic]: name, limit: String(limit), ...(before && { before }) })
    entries.push(...page.entries)
    names = { ...names, ...page.names }
    before = page.next
    if (before === undefined) break
  }
  out.result({ entries, names }, () =>
    entries.length === 0
      ? `The log tells nothing of ${about}.`
      : entries
          .toReversed()
          .map((entry) => printable([entry.index, entry.at, sentenceOf(entry, names)].join('  ')))
          .join('\n'),
  )
}

async function readPage(
  { site, credentials }: Login,
  query: Readonly<Record<string, string>>,
): Promise<TimelineAnswer> {
  const path = `/api/v1/timeline?${new URLSearchParams(query).toString()}`
  return callJson(site, { method: 'GET', path }, timelineAnswer, credentials)
}

function isTopic(word: string | undefined): word is TimelineTopic {
  return timelineTopics.some((topic) => topic === word)
}
