import { expect, test } from 'vitest'
import { parsePhc } from '#core/identity/phc.ts'
import { createPasswordHasher, defaultParameters } from './index.ts'

/** Cheap, for tests of everything but the cost. */
const parameters = { memoryKib: 64, passes: 1, parallelism: 1 }
const hasher = createPasswordHasher({ parameters })
const right = { isRight: true, needsRehash: false }
const wrong = { isRight: false, needsRehash: false }

test('a password is hashed with fresh salt and verified', async () => {
  const [one, two] = await Promise.all([
    hasher.hash('walnut ferry oblige'),
    hasher.hash('walnut ferry oblige'),
  ])
  expect(one).not.toBe(two)
  expect(await hasher.verify('walnut ferry oblige', one)).toEqual(right)
  expect(await hasher.verify('walnut ferry obligf', one)).toEqual(wrong)
})

test('the way it was typed does not matter', async () => {
  expect(await hasher.verify('cafe\u0301 au\u00a0lait', await hasher.hash('café au lait'))).toEqual(right)
})

test('hashes of the reference implementation are verified and marked for renewal', async () => {
  const phc = '$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc'
  expect(await hasher.verify('password', phc)).toEqual({ isRight: true, needsRehash: true })
  expect(await hasher.verify('passwore', phc)).toEqual(wrong)
})

test('default parameters are stored with the hash and are at least what OWASP asks for', async () => {
  const hash = parsePhc(await createPasswordHasher().hash('walnut ferry oblige'))
  expect(hash).toMatchObject(defaultParameters)
  expect(hash.memoryKib).toBeGreaterThanOrEqual(19 * 1024)
  expect(hash.passes).toBeGreaterThanOrEqual(2)
  expect(hash.salt).toHaveLength(16)
})

test('for nobody the answer is no, and a busy machine says so alike', async () => {
  expect(await hasher.verify('walnut ferry oblige', undefined)).toEqual(wrong)
  expect(await hasher.verify('walnut ferry oblige', null)).toEqual(wrong)
  const full = createPasswordHasher({ parameters, concurrency: 1, queueLength: 0 })
  const busy = full.hash('walnut ferry oblige')
  await expect(full.verify('walnut ferry oblige', undefined)).rejects.toMatchObject({ code: 'IDENTITY_BUSY' })
  await busy
})

test('a guess that no password can be is wrong, not an error', async () => {
  const phc = await hasher.hash('')
  expect(await hasher.verify('a\nb', phc)).toEqual(wrong)
  expect(await hasher.verify('x'.repeat(100_000), phc)).toEqual(wrong)
})

test('a damaged hash is an error, not a wrong password', async () => {
  await expect(hasher.verify('walnut ferry oblige', '$argon2id$')).rejects.toMatchObject({
    code: 'IDENTITY_BAD_HASH',
  })
})

test('two run, some wait, the rest is told to come back, and the place is free again afterwards', async () => {
  const small = createPasswordHasher({ parameters, queueLength: 3 })
  const results = await Promise.allSettled(Array.from({ length: 8 }, () => small.hash('walnut ferry oblige')))
  expect(results.map(({ status }) => status === 'fulfilled')).toEqual([
    true,
    true,
    true,
    true,
    true,
    false,
    false,
    false,
  ])
  for (const result of results.slice(5)) expect(result).toMatchObject({ reason: { code: 'IDENTITY_BUSY' } })
  const again = await Promise.allSettled(Array.from({ length: 5 }, () => small.hash('walnut ferry oblige')))
  expect(again.every(({ status }) => status === 'fulfilled')).toBe(true)
})
