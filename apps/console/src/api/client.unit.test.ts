import { afterEach, expect, test, vi } from 'vitest'
import { unattendedHeader } from '#core/api/unattended.ts'
import { send, signedOut, siteNow } from './client.ts'

// The browser's keys are in IndexedDB, which Node has not.
vi.mock('./keys.ts', () => {
  const made = crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign', 'verify'])
  return { loadProofKeyPair: () => made }
})
afterEach(() => vi.unstubAllGlobals())

test('a read has a limit of time, a change and a stream of events have none', async () => {
  const limits: AbortSignal[] = []
  vi.spyOn(AbortSignal, 'timeout').mockImplementation(() => {
    const limit = AbortSignal.abort()
    limits.push(limit)
    return limit
  })
  const asked = answer(() => new Response('{}'))
  await send({ method: 'POST', path: '/launches', patient: true })
  await send({ method: 'GET', path: '/events', stream: true })
  expect(limits).toHaveLength(0)
  await send({ method: 'GET', path: '/me' })
  expect(limits).toHaveLength(1)
  expect(asked.map(({ aborted }) => aborted)).toEqual([false, false, true])
  vi.restoreAllMocks()
})

test('a proof that came too old is made anew, also when others were lost before it', async () => {
  const before = signedOut.get()
  const answers = [
    () => refused(503, 'SITE_BUSY'),
    () => refused(401, 'PROOF_REFUSED'),
    () => refused(503, 'SITE_BUSY'),
    () => refused(401, 'PROOF_REFUSED'),
    () => new Response('{}'),
  ]
  answer(() => answers.shift()?.() ?? Response.error())
  expect((await send({ method: 'GET', path: '/me' })).status).toBe(200)
  expect(signedOut.get()).toBe(before)
})

test('what was asked too fast is asked again when the site says so', async () => {
  const answers = [() => refused(429, 'TOO_FAST'), () => new Response('{}')]
  answer(() => answers.shift()?.() ?? Response.error())
  expect((await send({ method: 'GET', path: '/me' })).status).toBe(200)
})

test('what a page asks while nobody is at it says so, and does not keep its person signed in', async () => {
  answer(() => new Response('{}'))
  await send({ method: 'GET', path: '/me' })
  vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 120_000)
  await send({ method: 'GET', path: '/me' })
  vi.restoreAllMocks()
  const said = vi.mocked(fetch).mock.calls.map(([, init]) => new Headers(init?.headers).get(unattendedHeader))
  expect(said).toEqual([null, '1'])
})

test('the time is the site’s, however wrong the clock here is', async () => {
  for (const hours of [-9, 0, 9]) {
    const at = Date.now() + hours * 3_600_000
    answer(() => new Response('{}', { headers: { date: new Date(at).toUTCString() } }))
    await send({ method: 'GET', path: '/me' })
    expect(Math.round((siteNow() - Date.now()) / 3_600_000)).toBe(hours)
  }
})

test('only who is not signed in, or has lost the key, is led to the sign-in', async () => {
  for (const [told, code] of [
    [undefined, 'SIGN_IN_REFUSED'],
    [{ isOver: true }, 'NOT_SIGNED_IN'],
    [{ isOver: false }, 'PROOF_REFUSED'],
  ] as const) {
    signedOut.set(undefined)
    answer(() => refused(401, code))
    await expect(send({ method: 'GET', path: '/me' })).rejects.toMatchObject({ code })
    expect(signedOut.get()).toEqual(told)
  }
})

function refused(status: number, code: string): Response {
  return Response.json({ code, message: 'no', ...(status !== 401 && { retryAfter: 0 }) }, { status })
}

/** @returns the signals that requests were made with */
function answer(next: () => Response): AbortSignal[] {
  const signals: AbortSignal[] = []
  const fetched = async (_path: string, { signal }: { readonly signal: AbortSignal }) => {
    signals.push(signal)
    return next()
  }
  vi.stubGlobal('fetch', vi.fn(fetched))
  return signals
}
