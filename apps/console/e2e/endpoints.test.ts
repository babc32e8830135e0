import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { parseToken } from '#adapters/pki-x509/index.ts'
import { tpm2 } from '#adapters/tpm/swtpm.rig.ts'
import { enrolAgent, quoteOver, requestApproval } from '#apps/agent-client/index.ts'
import { attest } from '#apps/site/endpoints/attesting.ts'
import { startTpmSite, type TpmSite } from '../../../interop/device-keys.rig.ts'
import { sees, signInAt, startVisitors, type Visitors } from './browser.rig.ts'

/** An admin lets machines in, says whose they are, and looks at what they booted. */

vi.setConfig({ testTimeout: 120_000 })
let undo: AsyncDisposableStack
let at: TpmSite
let visitors: Visitors
let ada: Page

beforeAll(async () => {
  undo = new AsyncDisposableStack()
  at = undo.use(await startTpmSite())
  visitors = undo.use(await startVisitors(at.site))
  ada = await visitors.visit()
  await signInAt(ada, 'ada')
  await ada.goto('/admin/endpoints')
}, 240_000)
afterAll(() => undo.disposeAsync())

const row = (name: string) => ada.getByRole('row', { name: new RegExp(name) })

test('a machine that waits is let in by its code, as whose it is', async () => {
  const { rootHash } = parseToken(await at.token('unused'))
  const dir = join(at.dir, 'desk-1')
  const waiting = await requestApproval({ url: at.site.url, rootHash, name: 'desk-1', dir })
  await ada.getByRole('button', { name: `Let in ${waiting.code}` }).click()
  await ada.getByLabel('Owner', { exact: true }).fill('norah')
  await ada.getByRole('button', { name: 'Let it in' }).click()
  await sees(ada.locator('input[name=owner]:focus ~ .field-problem'), /^Nobody here has the user name norah/)
  await ada.getByLabel('Owner', { exact: true }).fill('nora')
  await ada.getByRole('button', { name: 'Let it in' }).click()
  const token = await waiting.approved()
  await enrolAgent({ url: at.site.url, token, dir, kind: 'endpoint' })
  await sees(row('desk-1'), 'Nora Lind')
  await sees(row('desk-1'), 'Key file')
  await ada.getByRole('button', { name: 'Change the owner of desk-1' }).click()
  await ada.getByLabel('User name').fill('')
  await ada.getByRole('button', { name: 'Save' }).click()
  await sees(row('desk-1'), 'Nobody')
})

test('what differs in a changed boot is shown before it is accepted', async () => {
  const { dir, identity } = await at.enrol('laptop-1', { tcti: at.tpm.tcti })
  await sees(row('laptop-1'), 'boot as expected')
  await tpm2(at.tpm, `pcrextend 9:sha256=${'ab'.repeat(32)}`)
  const extraData = randomBytes(32)
  const attestation = await quoteOver(dir, extraData, { withLog: false })
  if (attestation === undefined) throw new Error('it has no TPM')
  await attest(at.node, await at.row(identity.id), attestation, extraData)
  await sees(row('laptop-1'), 'Boot changed')
  await ada.getByRole('button', { name: 'Look at the boot of laptop-1' }).click()
  await sees(ada.getByRole('dialog'), 'kernel changed (PCR 9)')
  await ada.getByRole('button', { name: 'Accept this boot' }).click()
  await sees(row('laptop-1'), 'boot as expected')
  expect(visitors.complaints).toEqual([])
})
