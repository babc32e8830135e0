import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { isSignedBy, keyIdOf } from '#core/release/index.ts'
import { codeOf } from '#core/release/release.fixture.ts'
import { createKeyFile, openKeyFile, publicPathOf, readKeyFile } from './index.ts'

const passphrase = 'a long walk without an umbrella'
let dir: string
let path: string
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'key-file-'))
  path = join(dir, 'alice.key')
})
afterEach(() => rm(dir, { recursive: true }))

test('a key signs once its passphrase opened it; both files name the same key', async () => {
  const key = await createKeyFile({ path, name: 'alice', passphrase })
  expect((await stat(path)).mode & 0o777).toBe(0o600)
  expect(await readKeyFile(path)).toEqual(key)
  expect(await readKeyFile(publicPathOf(path))).toEqual(key)
  expect(key['x-trustcast-name']).toBe('alice')
  const signer = await openKeyFile(path, passphrase)
  expect(signer.keyId).toBe(keyIdOf(key))
  const message = Buffer.from('release')
  expect(isSignedBy(key, message, await signer.sign(message))).toBe(true)
})

test('a wrong passphrase, a file that others can read, and a missing one are refused', async () => {
  await createKeyFile({ path, passphrase })
  expect(await codeOf(() => openKeyFile(path, 'a long walk with an umbrella'))).toBe(
    'KEY_FILE_WRONG_PASSPHRASE',
  )
  await chmod(path, 0o640)
  expect(await codeOf(() => openKeyFile(path, passphrase))).toBe('KEY_FILE_EXPOSED')
  expect(await codeOf(() => openKeyFile(join(dir, 'nobody'), passphrase))).toBe('KEY_FILE_MISSING')
})

test('no file is replaced, and no half pair is left', async () => {
  await createKeyFile({ path, passphrase })
  const before = await readFile(path)
  expect(await codeOf(() => createKeyFile({ path, passphrase }))).toBe('KEY_FILE_EXISTS')
  expect(await readFile(path)).toEqual(before)
  await writeFile(join(dir, 'bob.key.pub'), 'mine')
  expect(await codeOf(() => createKeyFile({ path: join(dir, 'bob.key'), passphrase }))).toBe(
    'KEY_FILE_EXISTS',
  )
  expect((await readdir(dir)).toSorted()).toEqual(['alice.key', 'alice.key.pub', 'bob.key.pub'])
})

test('where no file can be made there is a code and what to do', async () => {
  const nowhere = createKeyFile({ path: join(dir, 'none/alice.key'), passphrase })
  await expect(nowhere).rejects.toMatchObject({
    code: 'KEY_FILE_UNWRITABLE',
    remedy: expect.stringContaining('folder'),
  })
})

test('a passphrase that is quickly guessed is refused', async () => {
  expect(await codeOf(() => createKeyFile({ path, passphrase: 'short' }))).toBe('IDENTITY_PASSWORD_TOO_SHORT')
  expect(await codeOf(() => createKeyFile({ path, passphrase: 'passwordpassword' }))).toBe(
    'IDENTITY_PASSWORD_COMMON',
  )
})

test('a file that was changed in any place is damaged, and never another key', async () => {
  await createKeyFile({ path, name: 'alice', passphrase })
  const text = await readFile(path, 'utf8')
  const damagedAt = async (changed: string): Promise<string> => {
    await writeFile(path, changed)
    return codeOf(() => openKeyFile(path, passphrase))
  }
  for (let at = 0; at < text.length; at += 5) {
    const other = text[at] === 'A' ? 'B' : 'A'
    const changed = text.slice(0, at) + other + text.slice(at + 1)
    // White space around values is the only thing that means nothing.
    if (!/\s/.test(text[at] ?? '')) expect(await damagedAt(changed)).toBe('KEY_FILE_DAMAGED')
  }
  expect(await damagedAt(text.slice(0, 200))).toBe('KEY_FILE_DAMAGED')
  expect(await damagedAt('')).toBe('KEY_FILE_DAMAGED')
  expect(await damagedAt(' '.repeat(10_000))).toBe('KEY_FILE_DAMAGED')
})

test('a cost that would take the machine down is refused', async () => {
  await createKeyFile({ path, passphrase })
  const text = await readFile(path, 'utf8')
  await writeFile(path, text.replace(/"memoryKib": \d+/, '"memoryKib": 100000000'))
  expect(await codeOf(() => openKeyFile(path, passphrase))).toBe('KEY_FILE_DAMAGED')
})
