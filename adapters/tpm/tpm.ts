import { constants } from 'node:fs'
import { access, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { maxEventLogBytes, quotedPcrs } from '#core/tpm/index.ts'
import { TpmDeviceError } from './tpm-device-error.ts'
import { runTpm2 } from './tpm2-tools.ts'

export interface TpmPlace {
  /** How the TPM is reached; `$TPM2TOOLS_TCTI`, else `device:/dev/tpmrm0`. */
  readonly tcti?: string | undefined
  /** The firmware's event log; Linux has it in securityfs. */
  readonly eventLog?: string | undefined
}

/** The key that its maker certified. */
export interface Endorsement {
  /** TPMT_PUBLIC. */
  readonly publicArea: Buffer
  /** X.509, DER. */
  readonly certificate: Buffer
}

export interface AttestationKey {
  /** Persistent, such as `0x8101a000`. */
  readonly handle: string
  /** TPMT_PUBLIC. */
  readonly publicArea: Buffer
}

/** A quote as the TPM gives it; see `verifyQuote`. */
export interface RawQuote {
  readonly quote: Buffer
  readonly signature: Buffer
  readonly pcrs: Buffer
}

/**
 * The TPM 2.0 of this machine, through the tpm2-tools. Calls to one TPM are done one after the other; each uses a private folder
 * that is gone with it. Every method throws `TpmDeviceError`.
 */
export interface Tpm {
  readonly tcti: string
  /** The ECC endorsement key where it has a certificate, else the RSA one. @throws TPM_NO_CERTIFICATE */
  readEndorsement(signal?: AbortSignal): Promise<Endorsement>
  /** Makes a restricted ECC P-256 signing key beside the endorsement key and keeps it in the TPM. */
  createAttestationKey(signal?: AbortSignal): Promise<AttestationKey>
  removeAttestationKey(handle: string, signal?: AbortSignal): Promise<void>
  /**
   * Opens a secret that was made for this TPM while it holds this key.
   *
   * @param credential TPM2B_ID_OBJECT, then TPM2B_ENCRYPTED_SECRET
   * @throws TPM_CREDENTIAL_REFUSED
   */
  activate(handle: string, credential: Uint8Array, signal?: AbortSignal): Promise<Buffer>
  /** @param extraData at most 32 bytes @throws TPM_KEY_GONE */
  quote(handle: string, extraData: Uint8Array, signal?: AbortSignal): Promise<RawQuote>
  /** @returns undefined where the firmware left none, or this account may not read it */
  readEventLog(): Promise<Buffer | undefined>
}

const defaultTcti = 'device:/dev/tpmrm0'
const defaultEventLog = '/sys/kernel/security/tpm0/binary_bios_measurements'
/** NV indices of the certificates of the ECC P-256 and RSA 2048 keys: TCG EK Credential Profile, section 2.2.1.4. */
const certificates: readonly (readonly [algorithm: string, index: string])[] = [
  ['ecc', '0x1c0000a'],
  ['rsa', '0x1c00002'],
]
/** Where attestation keys of ours are kept: 0x8101a000 and the next ones. */
const firstHandle = 0x8101a000
const mostHandles = 16
/** What tpm2_makecredential writes and tpm2_activatecredential reads: magic, version. */
const credentialHeader = Buffer.from('badcc0de00000001', 'hex')

/**
 * The machine's TPM; undefined when it has none.
 *
 * @throws {TpmDeviceError} when there is one that cannot be used, or one was named that is not there
 */
export async function findTpm(place: TpmPlace = {}, signal?: AbortSignal): Promise<Tpm | undefined> {
  const named = place.tcti ?? process.env['TPM2TOOLS_TCTI']
  if (named === undefined && !(await isDeviceThere())) return undefined
  const tpm = openTpm({ ...place, tcti: named ?? defaultTcti })
  await tpm.check(signal)
  return tpm
}

/** A TPM that is known to be there. */
export function openTpm(place: TpmPlace): Tpm & { check(signal?: AbortSignal): Promise<void> } {
  const tcti = place.tcti ?? process.env['TPM2TOOLS_TCTI'] ?? defaultTcti
  const work = <T>(does: (run: Run) => Promise<T>, signal?: AbortSignal): Promise<T> =>
    inTurn(tcti, () => inFolder(tcti, does, signal))
  return {
    tcti,
    check: (signal) => work(async (run) => void (await run('getcap properties-fixed')), signal),
    readEndorsement: (signal) => work(readEndorsement, signal),
    createAttestationKey: (signal) => work(createAttestationKey, signal),
    removeAttestationKey: (handle, signal) =>
      work(async (run) => void (await run(`evictcontrol -C o -c ${handle}`)), signal),
    activate: (handle, credential, signal) => work((run) => activate(run, handle, credential), signal),
    quote: (handle, extraData, signal) => work((run) => quote(run, handle, extraData), signal),
    readEventLog: () => readEventLog(place.eventLog ?? defaultEventLog),
  }
}

interface Run {
  (line: string): Promise<string>
  readonly dir: string
}

async function readEndorsement(run: Run): Promise<Endorsement> {
  for (const [algorithm, index] of certificates) {
    if (!(await hasIndex(run, index))) continue
    await run(`nvread ${index} -o certificate`)
    await createEndorsementKey(run, algorithm)
    return {
      publicArea: await readSized(join(run.dir, 'ek.pub')),
      certificate: trimDer(await readFile(join(run.dir, 'certificate'))),
    }
  }
  throw new TpmDeviceError('TPM_NO_CERTIFICATE', 'the TPM holds no certificate of its endorsement key', {
    remedy: 'Enrol with --tpm none: what it says of itself cannot be checked.',
  })
}

async function createAttestationKey(run: Run): Promise<AttestationKey> {
  await createEndorsementKey(run, await certifiedAlgorithm(run))
  await run('createak -C ek.ctx -c ak.ctx -G ecc -g sha256 -s ecdsa -u ak.pub')
  await forgetLoaded(run)
  const taken = (await run('getcap handles-persistent')).toLowerCase()
  for (let index = 0; index < mostHandles; index++) {
    const handle = `0x${(firstHandle + index).toString(16)}`
    if (taken.includes(handle)) continue
    await run(`evictcontrol -C o -c ak.ctx ${handle}`)
    await forgetLoaded(run)
    return { handle, publicArea: await readSized(join(run.dir, 'ak.pub')) }
  }
  throw new TpmDeviceError(
    'TPM_DEVICE_FULL',
    `${mostHandles} attestation keys of earlier enrolments are kept`,
    {
      remedy: 'Remove them: tpm2_getcap handles-persistent, tpm2_evictcontrol -C o -c 0x8101a000',
    },
  )
}

async function activate(run: Run, handle: string, credential: Uint8Array): Promise<Buffer> {
  await writeFile(join(run.dir, 'credential'), Buffer.concat([credentialHeader, credential]), { mode: 0o600 })
  await createEndorsementKey(run, await certifiedAlgorithm(run))
  await run('startauthsession --policy-session -S session')
  try {
    await run('policysecret -S session -c e')
    await run(`activatecredential -c ${handle} -C ek.ctx -i credential -o secret -P session:session`)
    return await readFile(join(run.dir, 'secret'))
  } finally {
    await run('flushcontext session').catch(() => undefined)
    await forgetLoaded(run).catch(() => undefined)
  }
}

async function quote(run: Run, handle: string, extraData: Uint8Array): Promise<RawQuote> {
  await run(
    `quote -c ${handle} -l sha256:${quotedPcrs.join(',')} -g sha256 -q ${Buffer.from(extraData).toString('hex')} -m quote -s signature -o pcrs -F values`,
  )
  const [attest, signature, pcrs] = await Promise.all(
    ['quote', 'signature', 'pcrs'].map((name) => readFile(join(run.dir, name))),
  )
  if (attest === undefined || signature === undefined || pcrs === undefined)
    throw new TpmDeviceError('TPM_DEVICE_FAILED', 'tpm2_quote left no quote')
  return { quote: attest, signature, pcrs }
}

/** The credential is made for the key whose certificate was shown. */
async function certifiedAlgorithm(run: Run): Promise<string> {
  for (const [algorithm, index] of certificates) if (await hasIndex(run, index)) return algorithm
  return 'ecc'
}

async function createEndorsementKey(run: Run, algorithm: string): Promise<void> {
  await run(`createek -c ek.ctx -G ${algorithm} -u ek.pub`)
  await forgetLoaded(run)
}

/** Without a resource manager what a command loaded stays, and there is room for three; it is in files, too. */
async function forgetLoaded(run: Run): Promise<void> {
  await run('flushcontext -t')
}

async function hasIndex(run: Run, index: string): Promise<boolean> {
  const indices = (await run('getcap handles-nv-index')).toLowerCase()
  return new RegExp(`${index}\\b`).test(indices)
}

async function readEventLog(path: string): Promise<Buffer | undefined> {
  const log = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'EACCES' || error.code === 'EPERM') return undefined
    throw error
  })
  return log === undefined || log.length === 0 || log.length > maxEventLogBytes ? undefined : log
}

/** A TPM2B_PUBLIC as the tools write it. @returns the TPMT_PUBLIC in it */
async function readSized(path: string): Promise<Buffer> {
  return (await readFile(path)).subarray(2)
}

/** NV indices may be longer than the certificate in them. Spec: X.690, section 8.1.3: here always two bytes of length. */
function trimDer(bytes: Buffer): Buffer {
  return bytes.length < 4 || bytes.readUInt16BE(0) !== 0x3082
    ? bytes
    : bytes.subarray(0, 4 + bytes.readUInt16BE(2))
}

async function isDeviceThere(): Promise<boolean> {
  return access('/dev/tpmrm0', constants.R_OK | constants.W_OK).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EACCES') return false
      throw new TpmDeviceError('TPM_DEVICE_DENIED', 'this account may not use the TPM of this machine', {
        remedy: 'Run it as root, or add the account to the group tss; or enrol with --tpm none.',
        cause: error,
      })
    },
  )
}

const turns = new Map<string, Promise<unknown>>()

/** A TPM does one thing at a time, and an emulator without a resource manager keeps what one left behind. */
async function inTurn<T>(tcti: string, does: () => Promise<T>): Promise<T> {
  const before = turns.get(tcti) ?? Promise.resolve()
  const turn = before.then(does, does)
  turns.set(
    tcti,
    turn.catch(() => undefined),
  )
  return turn
}

async function inFolder<T>(
  tcti: string,
  does: (run: Run) => Promise<T>,
  signal: AbortSignal | undefined,
): Promise<T> {
  const dir = await mkdtemp(join(tmpdir(), 'trustcast-tpm-'))
  try {
    const run = (line: string): Promise<string> => runTpm2({ tcti, dir, line }, signal)
    return await does(Object.assign(run, { dir }))
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}
