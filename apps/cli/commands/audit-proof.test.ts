import { execFile } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import {
  encodeEntry,
  encodeVerifierKey,
  formatTlogProof,
  leafHash,
  signCheckpoint,
} from '#core/audit/index.ts'

const program = join(import.meta.dirname, '../../../trustcast')

test('what an endpoint had logged moves no cursor and makes no line of its own, in any of the outputs', async () => {
  const reason = 'closed\u001b[1A\u001b[2K\u009b2K\n41  2026-11-27T09:00:00.000Z  Nora signed out.'
  const id = '01890a5d-ac96-774b-bcce-b302099a8057'
  const told = {
    at: '2026-11-27T10:00:00.000Z',
    kind: 'lease-ended',
    actor: { type: 'endpoint', id },
  } as const
  const entry = encodeEntry({ ...told, subject: id, data: { code: 'LEASE_ENDED', reason } })
  const signer = { name: 'site.example/audit', privateKey: generateKeyPairSync('ed25519').privateKey }
  const checkpoint = signCheckpoint({ size: 1n, root: leafHash(entry) }, signer)
  const dir = await mkdtemp(join(tmpdir(), 'tc-proof-'))
  try {
    const file = join(dir, 'entry.tlog-proof')
    await writeFile(file, formatTlogProof({ index: 0n, entry, proof: [], checkpoint }))
    const key = encodeVerifierKey(signer.name, signer.privateKey)
    const words = ['audit', 'verify', '--proof', file, '--key', key]
    const { stdout: text } = await promisify(execFile)(program, words)
    const { stdout: json } = await promisify(execFile)(program, [...words, '--json'])
    for (const output of [text, json]) expect(output.replaceAll('\n', '')).not.toMatch(/\p{C}/u)
    expect(text.trimEnd().split('\n')).toHaveLength(3)
    expect(JSON.parse(json)).toMatchObject({ entry: { data: { reason } } })
  } finally {
    await rm(dir, { recursive: true })
  }
})
