import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { exportPublic } from '#core/channel/index.ts'
import { loadHostKey } from './host-key.ts'

test('the key is made once, and only its owner can read it', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'tc-key-'))
  try {
    const first = await exportPublic((await loadHostKey(dir)).publicKey)
    expect(await exportPublic((await loadHostKey(dir)).publicKey)).toEqual(first)
    expect((await stat(join(dir, 'host-key'))).mode & 0o777).toBe(0o600)
    await writeFile(join(dir, 'host-key'), 'short')
    await expect(loadHostKey(dir)).rejects.toMatchObject({ code: 'AGENT_KEY_DAMAGED' })
  } finally {
    await rm(dir, { recursive: true })
  }
})
