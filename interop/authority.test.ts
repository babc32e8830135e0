import { execFile } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { createAuthority } from '#adapters/pki-x509/index.ts'
import { renewIdentity } from '#apps/agent-client/keep-renewed.ts'
import { alarmsAnswer } from '#core/api/evidence.ts'
import { enrolledIdentity } from './raw-endpoint.rig.ts'
import { freePorts, type RunningSite, startSite, until } from './running-site.rig.ts'

/** The site's intermediate certificate ends after a year; the site does not. */

const dayMs = 86_400_000
const small = ['--hosts', '1', '--gateways', '1']

const aged =
  (days: number) =>
  async (state: string): Promise<void> => {
    await createAuthority({ dir: join(state, 'pki'), siteName: 'Aged', now: Date.now() - days * dayMs })
  }

test('a site whose intermediate has ended renews it at its start when the root key is there, and tells of the end of its root a year before', async () => {
  await using site = await startSite({ args: small, prepare: aged(3300) })
  expect(await daysLeft(site)).toBeGreaterThan(300)
  const ada = await site.signIn('ada')
  const alarms = async () => (await ada.get('/alarms', alarmsAnswer)).alarms
  await until(async () => (await alarms()).length > 0, 'admins are called', 60_000)
  expect(await alarms()).toMatchObject([
    { kind: 'authority', message: expect.stringContaining('The root certificate of this site ends on') },
  ])
}, 120_000)

test('with the root key offline admins are called, renew it by command, and no part is started again', async () => {
  await using site = await startSite({
    args: small,
    prepare: async (state) => {
      await aged(300)(state)
      await takeOffline(state)
    },
  })
  const ada = await site.signIn('ada')
  const alarms = async () => (await ada.get('/alarms', alarmsAnswer)).alarms
  const identity = await enrolledIdentity(site, ada, 'laptop')
  expect(await daysLeft(site)).toBeLessThan(90)
  await until(async () => (await alarms()).length > 0, 'admins are called', 60_000)
  expect(await alarms()).toMatchObject([
    {
      kind: 'authority',
      remedy: expect.stringContaining(`trustcast authority renew FOLDER --state ${site.state}`),
    },
  ])
  const node = await site.pidsOf('site')

  const renewed = await site.cli(['authority', 'renew', offline(site.state), '--state', site.state])
  expect(renewed).toMatchObject({ code: 0, stdout: expect.stringContaining('is good until') })
  await until(async () => (await daysLeft(site)) > 300, 'the node shows the new intermediate', 60_000)
  await until(async () => (await alarms()).length === 0, 'the alarm is over', 60_000)
  expect(await site.pidsOf('site')).toEqual(node)
  // Who was enrolled under the old one is still believed, and then proves itself by what the new one issued.
  const dir = join(site.state, 'laptop')
  const next = await renewIdentity(dir, identity)
  const [, intermediate = ''] = next.chainPem.split(/(?=-----BEGIN)/)
  expect(new X509Certificate(intermediate).validToDate.getTime()).toBeGreaterThan(Date.now() + 300 * dayMs)
  await expect(renewIdentity(dir, next)).resolves.toMatchObject({ id: identity.id })
}, 180_000)

test.each([
  [
    'an intermediate that has ended, without the root key,',
    366,
    /PKI_AUTHORITY_EXPIRED: .*\n.*trustcast authority renew FOLDER/,
  ],
  [
    'a root that has ended',
    3651,
    /PKI_AUTHORITY_EXPIRED: .*root certificate ended.*\n.*Move the site to another root/,
  ],
])('%s is refused with what to do', async (_, days, expected) => {
  const state = await mkdtemp('/var/tmp/tc-')
  try {
    await aged(days)(state)
    await takeOffline(state)
    const refusal = await run('up', '--state', state, '--port', String(await freePorts()), ...small).catch(
      String,
    )
    expect(refusal).toMatch(expected)
  } finally {
    await rm(state, { recursive: true })
  }
})

async function run(...words: readonly string[]): Promise<string> {
  return (await promisify(execFile)(join(import.meta.dirname, '../trustcast'), words)).stdout
}

function offline(state: string): string {
  return join(state, 'safe')
}

async function takeOffline(state: string): Promise<void> {
  await mkdir(offline(state))
  await rename(join(state, 'pki/root.key'), join(offline(state), 'root.key'))
}

/** Of the intermediate that the site's port for people shows. */
async function daysLeft({ port, address }: RunningSite): Promise<number> {
  const socket = connect({ port, host: 'localhost', servername: 'localhost', ca: address.ca })
  try {
    await once(socket, 'secureConnect')
    const shown = socket.getPeerX509Certificate()?.issuerCertificate
    return ((shown?.validToDate.getTime() ?? 0) - Date.now()) / dayMs
  } finally {
    socket.destroy()
  }
}
