import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { findAccount, findGroup, nameInside } from './accounts.ts'

let folder: string

/** As a machine of a directory service: the C library of every program that is started knows these people, and /etc/passwd does not. */
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tc-accounts-'))
  const [people, groups] = [join(folder, 'passwd'), join(folder, 'group')]
  await writeFile(
    people,
    'CORP\\Ann.Ek:x:240001:240000:Ann Ek:/home/ann:/bin/bash\nroot:x:0:0::/root:/bin/sh\n',
  )
  await writeFile(groups, 'domain users:x:240000:\n')
  vi.stubEnv('LD_PRELOAD', 'libnss_wrapper.so')
  vi.stubEnv('NSS_WRAPPER_PASSWD', people)
  vi.stubEnv('NSS_WRAPPER_GROUP', groups)
})
afterAll(async () => {
  vi.unstubAllEnvs()
  await rm(folder, { recursive: true })
})

test('people of a directory service are accounts of this machine, by name and by id; root is none', async () => {
  const ann = { name: 'CORP\\Ann.Ek', uid: 240_001, gid: 240_000 }
  expect(await findAccount('CORP\\Ann.Ek')).toEqual(ann)
  expect(await findAccount(240_001)).toEqual(ann)
  expect(await findGroup('domain users')).toBe(240_000)
  for (const nobody of ['240001', 'bob', '--help', 'root', 0, 240_002])
    expect(await findAccount(nobody)).toBeUndefined()
  for (const none of ['240000', 'nobodies']) expect(await findGroup(none)).toBeUndefined()
})

test.each([
  ['ann', 'ann'],
  ['CORP\\Ann.Ek', 'corp-ann-ek'],
  ['ann.ek@corp.example', 'ann-ek-corp-example'],
  ['7even', '_7even'],
  ['ÅSA', '_-sa'],
  ['x'.repeat(40), 'x'.repeat(32)],
])('%s is called %s in a system that does not know it', (name, inside) => {
  expect(nameInside(name)).toBe(inside)
})
