import { randomBytes, X509Certificate } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  decodePublicArea,
  makeCredential,
  nameOf,
  requireAttestationKey,
  verifyEndorsement,
  verifyQuote,
} from '#core/tpm/index.ts'
import { findTpm, openTpm, type Tpm } from './index.ts'
import { type SoftwareTpm, startSoftwareTpm, tpm2 } from './swtpm.rig.ts'

let software: SoftwareTpm
let tpm: Tpm
let undo: AsyncDisposableStack

beforeAll(async () => {
  undo = new AsyncDisposableStack()
  software = undo.use(await startSoftwareTpm())
  tpm = openTpm({ tcti: software.tcti })
})
afterAll(() => undo.disposeAsync())

test('a machine without a TPM has none, and one that was named must be there', async () => {
  expect(await findTpm()).toBeUndefined()
  expect(await findTpm({ tcti: software.tcti })).toBeDefined()
  await expect(findTpm({ tcti: `swtpm:path=${software.dir}/nothing` })).rejects.toMatchObject({
    code: 'TPM_DEVICE_ABSENT',
  })
})

test('the endorsement key is the one that its authority certified', async () => {
  const { publicArea, certificate } = await tpm.readEndorsement()
  const authority = new X509Certificate(software.authority)
  expect(verifyEndorsement(certificate, decodePublicArea(publicArea), [authority])).toMatch(/^[0-9a-f]{64}$/)
})

test('a key of this TPM opens a credential, quotes, and outlives a restart', async () => {
  const { publicArea: ekPublic } = await tpm.readEndorsement()
  const key = await tpm.createAttestationKey()
  const publicArea = decodePublicArea(key.publicArea)
  requireAttestationKey(publicArea)
  const secret = randomBytes(32)
  const made = makeCredential(decodePublicArea(ekPublic), nameOf(publicArea), secret)
  const credential = Buffer.concat([made.idObject, made.encryptedSecret])
  expect(await tpm.activate(key.handle, credential)).toEqual(secret)

  await software.restart()
  const extraData = randomBytes(32)
  const { quote, signature, pcrs } = await tpm.quote(key.handle, extraData)
  const verified = verifyQuote({ attest: quote, signature, publicArea, extraData, pcrs })
  expect(verified.pcrs.get(0)).toEqual(Buffer.alloc(32))
  // What PCRs are extended with is in the next quote.
  await tpm2(software, `pcrextend 4:sha256=${'ab'.repeat(32)}`)
  const next = await tpm.quote(key.handle, extraData)
  expect(next.pcrs).not.toEqual(pcrs)
  await tpm.removeAttestationKey(key.handle)
  await expect(tpm.quote(key.handle, extraData)).rejects.toMatchObject({ code: 'TPM_KEY_GONE' })
})

test('a credential for another key of the same TPM, or for another TPM, stays shut', async () => {
  await using other = await startSoftwareTpm()
  const stranger = openTpm({ tcti: other.tcti })
  const [ours, theirs] = [await tpm.createAttestationKey(), await stranger.createAttestationKey()]
  const ek = decodePublicArea((await tpm.readEndorsement()).publicArea)
  const credentialFor = (key: typeof ek, publicArea: Buffer): Buffer => {
    const made = makeCredential(key, nameOf(decodePublicArea(publicArea)), randomBytes(32))
    return Buffer.concat([made.idObject, made.encryptedSecret])
  }
  const refused = { code: 'TPM_CREDENTIAL_REFUSED' }
  await expect(tpm.activate(ours.handle, credentialFor(ek, theirs.publicArea))).rejects.toMatchObject(refused)
  // What failed left nothing behind that would fill the TPM.
  for (let tries = 0; tries < 4; tries++)
    await expect(tpm.activate(ours.handle, credentialFor(ek, theirs.publicArea))).rejects.toMatchObject(
      refused,
    )
  await tpm.quote(ours.handle, randomBytes(32))
  // An emulator may stop altogether at what was encrypted to another key, as TPMs do when they find themselves broken.
  await expect(stranger.activate(theirs.handle, credentialFor(ek, theirs.publicArea))).rejects.toMatchObject({
    code: expect.stringMatching(/^TPM_(?:CREDENTIAL_REFUSED|DEVICE_BROKEN)$/),
  })
})

test('calls that come at once are done one after the other', async () => {
  const key = await tpm.createAttestationKey()
  const quotes = await Promise.all(Array.from({ length: 6 }, () => tpm.quote(key.handle, randomBytes(32))))
  expect(new Set(quotes.map(({ signature }) => signature.toString('hex'))).size).toBe(6)
  await tpm.removeAttestationKey(key.handle)
})

test('what the tools say is the same as what we say', async () => {
  const key = await tpm.createAttestationKey()
  const extraData = randomBytes(32)
  const { quote, signature, pcrs } = await tpm.quote(key.handle, extraData)
  for (const [name, bytes] of Object.entries({ quote, signature }))
    await writeFile(join(software.dir, name), bytes)
  await tpm2(software, `readpublic -c ${key.handle} -f pem -o ak.pem`)
  const check = (nonce: string): Promise<string> =>
    tpm2(software, `checkquote -u ak.pem -m quote -s signature -g sha256 -q ${nonce}`)
  await check(extraData.toString('hex'))
  await expect(check('00')).rejects.toThrow()
  const publicArea = decodePublicArea(key.publicArea)
  verifyQuote({ attest: quote, signature, publicArea, extraData, pcrs })
  expect((await tpm2(software, `readpublic -c ${key.handle}`)).replaceAll(/\s/g, '')).toContain(
    nameOf(publicArea).toString('hex'),
  )
})

test('a credential for an ECC endorsement key is what the TPM expects', async () => {
  await tpm2(software, 'createek -c ek.ctx -G ecc -u ek.pub')
  await tpm2(software, 'createak -C ek.ctx -c ak.ctx -G ecc -g sha256 -s ecdsa -u ak.pub')
  await tpm2(software, 'flushcontext -t')
  const areaIn = async (name: string) =>
    decodePublicArea((await readFile(join(software.dir, name))).subarray(2))
  const secret = randomBytes(32)
  const made = makeCredential(await areaIn('ek.pub'), nameOf(await areaIn('ak.pub')), secret)
  await writeFile(
    join(software.dir, 'cred'),
    Buffer.concat([Buffer.from('badcc0de00000001', 'hex'), made.idObject, made.encryptedSecret]),
  )
  await tpm2(software, 'startauthsession --policy-session -S s.ctx')
  await tpm2(software, 'policysecret -S s.ctx -c e')
  await tpm2(software, 'activatecredential -c ak.ctx -C ek.ctx -i cred -o opened -P session:s.ctx')
  expect(await readFile(join(software.dir, 'opened'))).toEqual(secret)
  await tpm2(software, 'flushcontext s.ctx')
  await tpm2(software, 'flushcontext -t')
})

test('an event log is read where the firmware left one', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'tc-eventlog-'))
  await writeFile(join(dir, 'log'), 'events')
  expect(await openTpm({ eventLog: join(dir, 'log') }).readEventLog()).toEqual(Buffer.from('events'))
  expect(await openTpm({ eventLog: join(dir, 'none') }).readEventLog()).toBeUndefined()
  await rm(dir, { recursive: true })
})
