import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { TpmDeviceError, type TpmDeviceErrorCode } from './tpm-device-error.ts'

/** One command takes some 20 ms with an emulator and up to seconds with a chip that makes an RSA key. */
const timeoutMs = 60_000

export interface ToolRun {
  /** How the TPM is reached: tpm2-tools(1), `-T`. */
  readonly tcti: string
  /** Where the command finds and leaves files. */
  readonly dir: string
  /** `quote -c 0x8101a000`, for `tpm2_quote`. No word has a space in it. */
  readonly line: string
}

/**
 * Runs one of the tpm2-tools.
 *
 * @returns its standard output
 * @throws {TpmDeviceError}; the reason of `signal`
 */
export async function runTpm2(run: ToolRun, signal?: AbortSignal): Promise<string> {
  signal?.throwIfAborted()
  const { tcti, dir, line } = run
  const [command = '', ...args] = line.split(' ')
  const timeout = AbortSignal.timeout(timeoutMs)
  const child = spawn(`tpm2_${command}`, args, {
    cwd: dir,
    stdio: ['ignore', 'pipe', 'pipe'],
    // English messages, because they are read.
    env: { ...process.env, LC_ALL: 'C', TPM2TOOLS_TCTI: tcti, TSS2_LOG: 'all+none' },
    signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
    killSignal: 'SIGKILL',
  })
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  const [code, output, messages] = await Promise.all([
    ended.catch((cause: unknown) => {
      throw notRun(cause, command, timeout, signal)
    }),
    text(child.stdout),
    text(child.stderr),
  ])
  if (code === 0) return output
  throw refusalOf(command, messages)
}

type Refusal = readonly [pattern: RegExp, code: TpmDeviceErrorCode, problem: string, remedy: string]

/** What the tools say, in the order in which it is looked for. Response codes: TPM 2.0 Library part 2, section 6.6. */
const refusals: readonly Refusal[] = [
  [
    /0x101\)|TPM failure/i,
    'TPM_DEVICE_BROKEN',
    'it says that it is broken and takes no commands',
    'Restart the machine; if it stays so, enrol with --tpm none.',
  ],
  [
    /0x1df|integrity check failed|0x2d5/i,
    'TPM_CREDENTIAL_REFUSED',
    'the credential was made for another TPM or another key',
    'Enrol this machine again.',
  ],
  [
    /0x18b|handle is not correct|out of range or is not correct/i,
    'TPM_KEY_GONE',
    'it holds no such key',
    'It was cleared, or is not the one that this machine was enrolled with: enrol again.',
  ],
  [
    /0x921|lockout/i,
    'TPM_DEVICE_LOCKED',
    'it is locked after too many wrong passwords',
    'Wait, or reset the lockout: tpm2_dictionarylockout -c',
  ],
  [
    /0x9a2|0x98e|authorization failure/i,
    'TPM_DEVICE_OWNED',
    'a hierarchy has a password',
    'Clear the password of the owner and endorsement hierarchies, or enrol with --tpm none.',
  ],
  [
    /0x14c|0x902|0x903|out of memory/i,
    'TPM_DEVICE_FULL',
    'it has no room for another key',
    'Remove keys that nobody needs: tpm2_getcap handles-persistent, tpm2_evictcontrol',
  ],
  [
    /TCTI|could not open|connect|0xa000a/i,
    'TPM_DEVICE_ABSENT',
    'it cannot be reached',
    'Check that the TPM is on in the firmware, and that /dev/tpmrm0 may be read by this account.',
  ],
]

function refusalOf(command: string, messages: string): TpmDeviceError {
  const found = refusals.find(([pattern]) => pattern.test(messages))
  const cause = new Error(messages.trim().slice(0, 2000))
  if (found === undefined) {
    const line = /^ERROR: .*$/m.exec(messages)?.[0] ?? 'it said nothing'
    return new TpmDeviceError('TPM_DEVICE_FAILED', `tpm2_${command} could not do it: ${line}`, { cause })
  }
  const [, code, problem, remedy] = found
  return new TpmDeviceError(code, `the TPM: ${problem}`, { remedy, cause })
}

function notRun(
  cause: unknown,
  command: string,
  timeout: AbortSignal,
  signal: AbortSignal | undefined,
): unknown {
  if (signal?.aborted) return signal.reason
  if (timeout.aborted)
    return new TpmDeviceError(
      'TPM_DEVICE_TIMEOUT',
      `tpm2_${command} did not end within ${timeoutMs / 1000} s`,
      {
        cause,
      },
    )
  if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') return cause
  return new TpmDeviceError('TPM_TOOLS_MISSING', `tpm2_${command} is not installed`, {
    cause,
    remedy: 'Install tpm2-tools, on Debian: apt install tpm2-tools. Or enrol with --tpm none.',
  })
}
