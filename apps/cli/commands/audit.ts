import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { ApiRefusal, call, callJson } from '#apps/site-client/call.ts'
import {
  changedTiles,
  decodeEntry,
  decodeEntryBundle,
  openCheckpoint,
  parseVerifierKey,
  TILE_WIDTH,
  tilePath,
  verifyLog,
} from '#core/audit/index.ts'
import { CliError, usage } from '../cli-error.ts'
import { type Command, type Output, type Parsed, parse } from '../command.ts'
import { type Login, readLogin } from '../login-file.ts'
import { printable } from '../printable.ts'
import { readText } from '../read-text.ts'
import { showAbout } from './audit-about.ts'
import { fetchProof, verifyProof } from './audit-proof.ts'

export const audit: Command = {
  synopsis:
    'show [DIR] [--last N] | show --about THING:NAME [--last N] | export DIR | verify [DIR --key KEY] [--checkpoint FILE] [--against DIR] | proof INDEX [FILE] | verify --proof FILE --key KEY',
  summary:
    'The audit log: show its entries, or those of a copy; what it tells of a workspace, person, endpoint, host, session or lease; copy it; verify it from its tiles and the public key alone (without DIR the site’s own log is read); fetch the proof of one entry and verify it without the site.',
  run: async (args, out) => {
    const [action, ...rest] = args
    if (action === 'show') return show(rest, out)
    if (action === 'export') return exportLog(rest, out)
    if (action === 'verify') return verify(rest, out)
    if (action === 'proof') return proof(rest, out)
    throw usage(`expected show, export, verify or proof, got ${JSON.stringify(action ?? 'nothing')}`)
  },
}

const keyAnswer = z.strictObject({ key: z.string() })
type Read = (path: string) => Promise<Uint8Array | undefined>

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
async function showLast(read: Read, given: string | undefined, last: number, out: Output): Promise<void> {
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

async function exportLog(args: readonly string[], out: Output): Promise<void> {
  const { positionals } = parse(args, {}, [1, 1])
  const [dir = ''] = positionals
  const login = await readLogin()
  const read = fromSite(login)
  const key = await keyOf(login)
  const { size, note } = await checkpointOf(read, key)
  const tiles = Array.from(changedTiles(0n, size), tilePath)
  const arriving = join(dir, '.arriving')
  await rm(arriving, { recursive: true, force: true })
  try {
    for (const [index, path] of tiles.entries()) {
      await keep(arriving, path, await mustRead(read, path))
      if ((index + 1) % 100 === 0) out.say(`${index + 1} files`)
    }
    await keep(arriving, 'key', Buffer.from(`${key}\n`))
    await keep(arriving, 'checkpoint', note)
    await requireContinued(dir, arriving, key)
    // The checkpoint last: a copy with one is a whole copy.
    for (const path of [...tiles, 'key', 'checkpoint']) {
      await mkdir(dirname(join(dir, path)), { recursive: true })
      await rename(join(arriving, path), join(dir, path))
    }
  } finally {
    await rm(arriving, { recursive: true, force: true })
  }
  out.result(
    { size: String(size), files: tiles.length, key },
    () => `${size} entries in ${dir}\nVerify with: trustcast audit verify ${dir} --key '${key}'`,
  )
}

/**
 * A copy is evidence: only a log that goes on from it, under the same key, takes its place.
 *
 * @throws {CliError} CLI_OTHER_LOG
 */
async function requireContinued(dir: string, arriving: string, key: string): Promise<void> {
  const kept = fromDirectory(dir)
  const [ownKey, checkpoint] = await Promise.all([kept('key'), kept('checkpoint')])
  if (ownKey === undefined && checkpoint === undefined) return
  const verdict = await verifyLog({
    read: fromDirectory(arriving),
    publicKey: ownKey === undefined ? key : String(ownKey).trim(),
    ...(checkpoint === undefined ? {} : { trusted: String(checkpoint) }),
  })
  if (verdict.ok) return
  const why = `${verdict.code}: ${verdict.message}`
  throw new CliError(
    'CLI_OTHER_LOG',
    `the log does not go on from the copy in ${dir}, which stays (${why})`,
    {
      remedy: `Keep that copy. Export into another folder, and compare: trustcast audit verify --against ${dir}`,
    },
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
  const verdict = await verifyLog({
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

function fromSite({ site, credentials }: Login): Read {
  return async (path) => {
    try {
      return (await call(site, { method: 'GET', path: `/api/v1/audit/${path}` }, credentials)).body
    } catch (error) {
      if (error instanceof ApiRefusal && error.code === 'NOT_FOUND') return undefined
      throw error
    }
  }
}

function fromDirectory(dir: string): Read {
  return async (path) =>
    readFile(join(dir, path)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined
      throw error
    })
}

async function keyOf({ site, credentials }: Login): Promise<string> {
  return (await callJson(site, { method: 'GET', path: '/api/v1/audit/key' }, keyAnswer, credentials)).key
}

async function checkpointOf(
  read: Read,
  key: string,
): Promise<{ readonly size: bigint; readonly note: Uint8Array }> {
  const note = await mustRead(read, 'checkpoint')
  return { size: openCheckpoint(note, parseVerifierKey(key)).size, note }
}

async function mustRead(read: Read, path: string): Promise<Uint8Array> {
  const bytes = await read(path)
  if (bytes === undefined) throw new CliError('CLI_FILE_MISSING', `the log has no ${path}`)
  return bytes
}

async function keep(dir: string, path: string, bytes: Uint8Array): Promise<void> {
  const file = join(dir, path)
  await mkdir(dirname(file), { recursive: true })
  await writeFile(file, bytes)
}
