import {
  decodeEntry,
  decodeEntryBundle,
  type FileReader,
  type LogVerdict,
  TILE_WIDTH,
  tilePath,
  type VerifyOptions,
  verifyLog,
} from '#core/audit/index.ts'
import { usage } from '../cli-error.ts'
import { type Command, type Output, type Parsed, parse } from '../command.ts'
import { readLogin } from '../login-file.ts'
import { printable } from '../printable.ts'
import { progressLine } from '../progress.ts'
import { readText } from '../read-text.ts'
import { showAbout } from './audit-about.ts'
import { exportLog } from './audit-export.ts'
import { checkpointOf, fromDirectory, fromSite, keyOf, mustRead } from './audit-files.ts'
import { fetchProof, verifyProof } from './audit-proof.ts'

export const audit: Command = {
  synopsis:
    'show [DIR] [--last N] | show --about THING:NAME [--last N] | export DIR | verify [DIR --key KEY] [--checkpoint FILE] [--against DIR] | proof INDEX [FILE] | verify --proof FILE --key KEY',
  summary:
    'The audit log: show its entries, or those of a copy; what it tells of a workspace, person, endpoint, host, session or lease; copy it; verify it from its tiles and the public key alone (without DIR the site’s own log is read); fetch the proof of one entry and verify it without the site.',
  run: async (args, out) => {
    const [action, ...rest] = args
    if (action === 'show') return show(rest, out)
    if (action === 'export') {
      const [dir = ''] = parse(rest, {}, [1, 1]).positionals
      return exportLog(await readLogin(), dir, out)
    }
    if (action === 'verify') return verify(rest, out)
    if (action === 'proof') return proof(rest, out)
    throw usage(`expected show, export, verify or proof, got ${JSON.stringify(action ?? 'nothing')}`)
  },
}

async function show(args: readonly string[], out: Output): Promise<void> {
  const words = parse(args, { last: { type: 'string' }, about: { type: 'string' } }, [0, 1])
  const last = Number(words.text('last') ?? 20)
  if (!Number.isSafeInteger(last) || last < 1) throw usage('--last takes a number of entries')
  const [dir] = words.positionals
  const about = words.text('about')
  if (dir !== undefined && about !== undefined) throw usage('--about asks the site, not a copy')
  if (dir !== undefined) return showLast(fromDirectory(dir), undefined, last, out)
  const login = await readLogin()
  if (about !== undefined) return showAbout(login, about, last, out)
  return showLast(fromSite(login), await keyOf(login), last, out)
}

/** @param given of a copy its own is taken: whether to believe it is for `verify` to say */
async function showLast(
  read: FileReader,
  given: string | undefined,
  last: number,
  out: Output,
): Promise<void> {
  const key = given ?? String(await mustRead(read, 'key')).trim()
  const { size } = await checkpointOf(read, key)
  const entries: { index: string; entry: ReturnType<typeof decodeEntry> }[] = []
  const first = size > BigInt(last) ? size - BigInt(last) : 0n
  for (let tile = first / BigInt(TILE_WIDTH); tile * BigInt(TILE_WIDTH) < size; tile++) {
    const start = tile * BigInt(TILE_WIDTH)
    const width = Number(size - start < BigInt(TILE_WIDTH) ? size - start : BigInt(TILE_WIDTH))
    const bundle = await mustRead(read, tilePath({ level: 'entries', index: tile, width }))
    for (const [offset, bytes] of decodeEntryBundle(bundle, width).entries()) {
      const index = start + BigInt(offset)
      if (index >= first) entries.push({ index: String(index), entry: decodeEntry(bytes) })
    }
  }
  out.result({ size: String(size), entries }, () =>
    entries
      .map(({ index, entry: { at, kind, actor, subject, data } }) =>
        printable(
          [index, at, kind, `${actor.type} ${actor.id}`, subject ?? '', JSON.stringify(data)].join('  '),
        ),
      )
      .join('\n'),
  )
}

async function verify(args: readonly string[], out: Output): Promise<void> {
  const words = parse(
    args,
    {
      key: { type: 'string' },
      checkpoint: { type: 'string' },
      against: { type: 'string' },
      proof: { type: 'string' },
    },
    [0, 1],
  )
  const [dir] = words.positionals
  const ofEntry = words.text('proof')
  if (ofEntry !== undefined) return verifyOne(words, ofEntry, out)
  const login = dir === undefined ? await readLogin() : undefined
  const given = words.text('key')
  const key = given ?? (login === undefined ? undefined : await keyOf(login))
  if (key === undefined) {
    throw usage('verifying a copy needs --key: take it from the site’s admins, not from the copy')
  }
  const trusted = words.text('checkpoint')
  const against = words.text('against')
  const verdict = await verdictOn({
    read: login === undefined ? fromDirectory(dir ?? '.') : fromSite(login),
    publicKey: key,
    ...(trusted === undefined ? {} : { trusted: await readText(trusted) }),
    ...(against === undefined ? {} : { against: fromDirectory(against) }),
    isLive: login !== undefined,
  })
  const signer = { key, keyFrom: given === undefined ? 'site' : 'given' }
  const warning = given === undefined ? [ownKeyWarning(key)] : []
  if (verdict.ok) {
    const { size, origin, other } = verdict
    const root = Buffer.from(verdict.root).toString('base64')
    const compared = other === undefined ? {} : { other: { size: String(other.size) } }
    return out.result({ ok: true, size: String(size), root, origin, ...signer, ...compared }, () =>
      [
        `The log of ${origin} holds: ${size} entries, root ${root}.`,
        ...(other === undefined ? [] : [comparison(size, other.size)]),
        ...warning,
      ].join('\n'),
    )
  }
  process.exitCode = 1
  const index = verdict.index === undefined ? {} : { index: String(verdict.index) }
  out.result({ ok: false, code: verdict.code, message: verdict.message, ...index, ...signer }, () =>
    [`${verdict.code}: ${verdict.message}`, ...warning].join('\n'),
  )
}

/** Tells meanwhile how far it is. */
async function verdictOn(options: VerifyOptions): Promise<LogVerdict> {
  using progress = progressLine()
  return await verifyLog({
    ...options,
    onProgress: (verified, size) => progress.show(`${verified} of ${size} entries verified`),
  })
}

/** Whoever can write another log can name another key for it. */
function ownKeyWarning(key: string): string {
  return `The key came from the site that is judged. Compare it with the one that you have from its admins, or give that by --key:\n  ${key}`
}

function comparison(size: bigint, other: bigint): string {
  if (other === size) return 'The other copy holds the same.'
  return other > size
    ? `The other copy holds the same and ${other - size} more: this one is the older.`
    : `The other copy holds the first ${other} of them: it is the older.`
}

async function verifyOne(words: Parsed, file: string, out: Output): Promise<void> {
  const key = words.text('key')
  if (key === undefined) throw usage('verifying a proof needs --key: take it from the site’s admins')
  if (words.positionals.length > 0) throw usage('a proof is verified without a copy of the log')
  return verifyProof(file, key, out)
}

async function proof(args: readonly string[], out: Output): Promise<void> {
  const [index = '', file] = parse(args, {}, [1, 2]).positionals
  return fetchProof(await readLogin(), index, file, out)
}
