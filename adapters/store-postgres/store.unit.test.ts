import { expect, test } from 'vitest'
import { openStore } from './store.ts'

test.each([
  'postgres://site@db.example/trustcast',
  'postgres://site@10.0.0.5/trustcast?sslmode=require',
  'postgres://site@db.example/trustcast?sslmode=disable',
  'postgres://site@localhost/trustcast?host=db.example',
  'postgres://site@localhost/trustcast?host=localhost&host=db.example',
  'postgres://site@db.example/trustcast?sslmode=verify-full&sslmode=disable',
])('%s is refused: it would cross the network without being verified', (url) => {
  expect(() => openStore({ url })).toThrow(expect.objectContaining({ code: 'STORE_PLAINTEXT' }))
})

test.each([
  'postgres://site@127.0.0.1:5433/trustcast',
  'postgres://site@[::1]/trustcast',
  'postgres:///trustcast?host=/run/postgresql',
  'postgres://site@db.example/trustcast?sslmode=verify-full',
])('%s is taken', async (url) => {
  await openStore({ url }).close()
})

test('what is no database address is refused with a remedy', () => {
  expect(() => openStore({ url: 'mysql://x' })).toThrow(
    expect.objectContaining({ code: 'STORE_URL_MALFORMED' }),
  )
})
