import { open, writeFile } from 'node:fs/promises'
import { call } from '#apps/site-client/call.ts'
import {
  AuditError,
  decodeEntry,
  MAX_PROOF_BYTES,
  openTlogProof,
  parseVerifierKey,
} from '#core/audit/index.ts'
import { sentenceOf } from '#core/audit/sentence-of.ts'
import { CliError, usage } from '../cli-error.ts'
import type { Output } from '../command.ts'
import type { Login } from '../login-file.ts'

/** Fetches the proof that the log has an entry, to be handed on. @param file where to; absent: printed */
export async function fetchProof(
  { site, credentials }: Login,
  index: string,
  file: string | undefined,
  out: Output,
): Promise<void> {
  if (!/^(0|[1-9]\d{0,17})$/.test(index))
    throw usage('INDEX is the number that `trustcast audit show` begins with')
  const { body } = await call(site, { method: 'GET', path: `/api/v1/audit/proof/${index}` }, credentials)
  if (file === undefined) return out.result({ proof: String(body) }, () => String(body).trimEnd())
  await writeFile(file, body)
  out.result({ file }, () => `${file}\nVerify with: trustcast audit verify --proof ${file} --key KEY`)
}

/** Checks a proof from its file and the log's key alone, and says what it proves. */
export async function verifyProof(file: string, key: string, out: Output): Promise<void> {
  const bytes = await readBounded(file)
  try {
    const { index, entry, checkpoint } = openTlogProof(bytes, parseVerifierKey(key))
    const told = decodeEntry(entry)
    const { origin, size } = checkpoint
    out.result({ ok: true, origin, index: String(index), size: String(size), entry: told }, () =>
      [
        `The log of ${origin} holds this as entry ${index} of ${size}:`,
        `${told.at}  ${sentenceOf(told, {})}`,
        JSON.stringify(told),
      ].join('\n'),
    )
  } catch (error) {
    // A key that is none is the caller's mistake, not the proof's.
    if (!(error instanceof AuditError) || error.code === 'AUDIT_BAD_KEY') throw error
    process.exitCode = 1
    const { code, message } = error
    out.result({ ok: false, code, message }, () => `${code}: ${message}`)
  }
}

async function readBounded(path: string): Promise<Uint8Array> {
  await using file = await open(path).catch((cause: unknown) => {
    throw new CliError('CLI_FILE_MISSING', `${path} cannot be read`, { cause })
  })
  const buffer = Buffer.alloc(MAX_PROOF_BYTES + 1)
  let length = 0
  for (;;) {
    const { bytesRead } = await file.read(buffer, length, buffer.length - length)
    length += bytesRead
    if (bytesRead === 0 || length === buffer.length) return buffer.subarray(0, length)
  }
}
