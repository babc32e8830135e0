import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { ApiRefusal, call, callJson } from '#apps/site-client/call.ts'
import { type FileReader, openCheckpoint, parseVerifierKey } from '#core/audit/index.ts'
import { CliError } from '../cli-error.ts'
import type { Login } from '../login-file.ts'

/** The files of an audit log, from its site or from a copy. */

const keyAnswer = z.strictObject({ key: z.string() })

/** How often one file is asked for of a site that says when to ask again. */
const attempts = 30

/** A log has more files than the site lets one sign-in read without a pause: it says how long to wait. */
export function fromSite({ site, credentials }: Login): FileReader {
  return async (path) => {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return (await call(site, { method: 'GET', path: `/api/v1/audit/${path}` }, credentials)).body
      } catch (error) {
        if (!(error instanceof ApiRefusal)) throw error
        if (error.code === 'NOT_FOUND') return undefined
        if (error.retryAfter === undefined || attempt === attempts) throw error
        await sleep(error.retryAfter * 1000)
      }
    }
  }
}

export function fromDirectory(dir: string): FileReader {
  return async (path) =>
    readFile(join(dir, path)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined
      throw error
    })
}

export async function keyOf({ site, credentials }: Login): Promise<string> {
  return (await callJson(site, { method: 'GET', path: '/api/v1/audit/key' }, keyAnswer, credentials)).key
}

export async function checkpointOf(
  read: FileReader,
  key: string,
): Promise<{ readonly size: bigint; readonly note: Uint8Array }> {
  const note = await mustRead(read, 'checkpoint')
  return { size: openCheckpoint(note, parseVerifierKey(key)).size, note }
}

/** @throws {CliError} CLI_FILE_MISSING */
export async function mustRead(read: FileReader, path: string): Promise<Uint8Array> {
  const bytes = await read(path)
  if (bytes === undefined) throw new CliError('CLI_FILE_MISSING', `the log has no ${path}`)
  return bytes
}
