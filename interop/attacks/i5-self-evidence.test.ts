import * as fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Credentials } from '#apps/site-client/call.ts'
import { hostedLaunchAnswer, me } from '#core/api/person.ts'
import { claimNames, claimVocabulary } from '#core/trust/index.ts'
import { newKey } from '../hosted-person.rig.ts'
import { type RunningSite, startSite } from '../running-site.rig.ts'
import { refusalIn, send, sendSigned, signInFrom } from './raw-request.rig.ts'

/** Addresses of this machine that the demo's zones name. */
const office = '127.0.0.1'
const cafe = '127.0.0.50'
const hostile = '127.0.0.66'

let site: RunningSite
beforeAll(async () => {
  site = await startSite()
})
afterAll(() => site?.[Symbol.asyncDispose]())

interface Claimed {
  readonly name: string
  readonly value: string
}

/** The best that a client can say of itself. */
const everyVirtue: readonly Claimed[] = claimNames.map((name) => ({
  name,
  value: claimVocabulary[name].values.at(-1) ?? '',
}))

const forgeries: readonly Readonly<Record<string, string>>[] = [
  { 'x-forwarded-for': office },
  { 'x-forwarded-for': `${office}, ${office}, ${hostile}` },
  { forwarded: `for=${office};proto=https` },
  { 'x-real-ip': office, 'x-client-ip': office, 'true-client-ip': office, 'cf-connecting-ip': office },
  { 'x-trustcast-address': office, 'x-trustcast-zone': 'office', 'trustcast-zone': 'inside' },
  { 'x-trustcast-claims': JSON.stringify(everyVirtue), 'x-trustcast-endpoint': 'managed' },
  { 'x-trustcast-user': 'ada', 'x-forwarded-user': 'ada', 'remote-user': 'ada', 'x-remote-groups': 'admins' },
  {
    'x-client-cert': 'x',
    'x-ssl-client-verify': 'SUCCESS',
    'x-forwarded-client-cert': 'By=spiffe://x/endpoint/1',
  },
]

test('where people are refused, no evidence and no header of theirs lets them in', async () => {
  for (const [login, from] of [
    ['nora', hostile],
    ['carl', cafe],
    ['carl', hostile],
  ] as const) {
    const credentials = await signInFrom(site, login, from)
    for (const headers of [{}, ...forgeries]) {
      for (const evidence of [undefined, everyVirtue]) {
        const refusal = refusalIn(await launch(credentials, from, { evidence, headers }))
        expect(refusal.code, `${login} from ${from} with ${Object.keys(headers).join()}`).toBe(
          'LAUNCH_REFUSED',
        )
        expect(refusal.decision?.outcome).toBeUndefined()
      }
    }
  }
})

test('the site believes its own eyes about addresses', async () => {
  const credentials = await signInFrom(site, 'nora', hostile)
  for (const headers of forgeries) {
    const answer = await sendSigned(site, credentials, {
      method: 'GET',
      path: '/api/v1/me',
      headers,
      from: hostile,
    })
    const known = me.parse(JSON.parse(String(answer.body)))
    expect(known.network).toMatchObject({ address: hostile, kind: 'hostile' })
    expect(known).toMatchObject({ login: 'nora', admin: false, groups: ['employees'] })
    // To a stranger who says to be somebody, nothing of it is a sign-in.
    expect(refusalIn(await send(site, { method: 'GET', path: '/api/v1/me', headers })).code).toBe(
      'NOT_SIGNED_IN',
    )
  }
})

test('whatever a client claims, it gets no right and no mode that it would not get in silence', async () => {
  const from = cafe
  const credentials = await signInFrom(site, 'nora', from)
  const silent = await granted(credentials, from, undefined)
  expect(silent.rights).not.toContain('clipboard-out')
  expect(silent.obligations).toMatchObject({ watermark: true })
  const boasting = await granted(credentials, from, everyVirtue)
  expect(boasting).toEqual(silent)
})

test('no invented claims, values or sources turn a refusal into a permit', async () => {
  const credentials = await signInFrom(site, 'nora', hostile)
  const word = fc.oneof(
    fc.constantFrom('managed', 'on', 'inside', 'current', 'none', 'clean', 'yes', 'passkey', 'true', 'admin'),
    fc.string({ maxLength: 64 }),
  )
  const name = fc.oneof(
    fc.constantFrom(...claimNames),
    fc.constantFrom('__proto__', 'constructor', 'network.zone.value', 'person.groups', 'endpoint', ''),
    fc.string({ maxLength: 64 }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(fc.record({ name, value: word }), { maxLength: 64 }), async (evidence) => {
      const answer = await launch(credentials, hostile, { evidence })
      expect(refusalIn(answer).code).toBe('LAUNCH_REFUSED')
    }),
    { numRuns: 60 },
  )
  const lies: readonly object[] = [
    { name: 'endpoint.management', value: 'managed', source: 'attested' },
    { name: 'network.zone', value: 'inside', source: 'server', observedAt: Date.now() },
    { name: 'endpoint.management', value: { value: 'managed', source: 'attested' } },
  ]
  for (const lie of lies) {
    const answer = await launch(credentials, hostile, { evidence: [lie] })
    expect(refusalIn(answer).code).toBe('BAD_REQUEST')
  }
  for (const extra of [
    { zone: 'inside' },
    { claims: everyVirtue },
    { rights: ['clipboard-out'] },
    { mode: 'hosted-vm' },
  ]) {
    const answer = await launch(credentials, hostile, { extra })
    expect(refusalIn(answer).code).toBe('BAD_REQUEST')
  }
})

test('what a client admits is believed: it lowers trust at once, also of a session that runs', async () => {
  const credentials = await signInFrom(site, 'nora', office)
  const intercepted = [{ name: 'network.interception', value: 'detected' }]
  const refused = refusalIn(await launch(credentials, office, { evidence: intercepted }))
  expect(refused).toMatchObject({
    code: 'LAUNCH_REFUSED',
    message: expect.stringContaining('opens encrypted'),
  })
  // A virtue beside it does not make up for it.
  const both = [...everyVirtue, ...intercepted, ...everyVirtue].slice(0, 64)
  expect(refusalIn(await launch(credentials, office, { evidence: both })).code).toBe('LAUNCH_REFUSED')

  const answer = await launch(credentials, office, {})
  const { delivery } = hostedLaunchAnswer.parse(JSON.parse(String(answer.body)))
  const { clientKey } = await newKey()
  const again = await sendSigned(site, credentials, {
    method: 'POST',
    path: `/api/v1/sessions/${delivery.session.id}/tickets`,
    body: { clientKey, evidence: intercepted },
    from: office,
  })
  expect(refusalIn(again).code).toBe('LAUNCH_REFUSED')
})

async function launch(
  credentials: Credentials,
  from: string,
  how: { evidence?: readonly object[] | undefined; headers?: Record<string, string>; extra?: object },
) {
  const { clientKey } = await newKey()
  const body = { workspaceId: 'terminal', clientKey, evidence: how.evidence, ...how.extra }
  const path = '/api/v1/launches'
  return sendSigned(site, credentials, { method: 'POST', path, body, from, headers: how.headers ?? {} })
}

async function granted(credentials: Credentials, from: string, evidence: readonly Claimed[] | undefined) {
  const answer = await launch(credentials, from, { evidence })
  const { decision } = hostedLaunchAnswer.parse(JSON.parse(String(answer.body)))
  if (decision.outcome === undefined) throw new Error('expected a permit')
  const { mode, place, rights, obligations, restrictions } = decision.outcome
  return {
    mode,
    place,
    rights: rights.toSorted(),
    obligations,
    restricted: restrictions.map(({ right }) => right),
  }
}
