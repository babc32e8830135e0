import { spawn } from 'node:child_process'
import { buffer, text } from 'node:stream/consumers'
import { TokenError, type TokenErrorCode } from './errors.ts'

/** Which module drives the token, and which token of it. */
export interface TokenPlace {
  /** Path of the PKCS #11 library, such as `/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so`. */
  readonly module: string
  /** Label of the token, when the module has several. */
  readonly token?: string | undefined
}

export interface ToolRun extends TokenPlace {
  readonly args: readonly string[]
  readonly input?: Uint8Array
  /** Handed over by the environment, which only this account can read; never in the arguments, which all can. */
  readonly pin?: string
}

/**
 * Runs OpenSC's `pkcs11-tool`, one token operation each.
 *
 * @returns what it wrote to its standard output
 * @throws {TokenError}; the reason of `signal`
 */
export async function runTool(run: ToolRun, signal?: AbortSignal): Promise<Buffer> {
  signal?.throwIfAborted()
  const { module, token, args, input = new Uint8Array(), pin } = run
  const which = token === undefined ? [] : [`--token-label=${token}`]
  const login = pin === undefined ? [] : ['--login', `--pin=env:${pinVariable}`]
  const child = spawn('pkcs11-tool', [`--module=${module}`, ...which, ...login, ...args], {
    // English messages, because they are read.
    env: { ...process.env, LC_ALL: 'C', ...(pin === undefined ? {} : { [pinVariable]: pin }) },
    signal,
  })
  // It may end without reading: its messages say why.
  child.stdin.on('error', () => undefined)
  child.stdin.end(input)
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  const [code, output, messages] = await Promise.all([
    ended.catch((cause: unknown) => {
      throw toolMissing(cause, signal)
    }),
    buffer(child.stdout),
    text(child.stderr),
  ])
  if (code === 0) return output
  throw refusalOf(messages, module)
}

const pinVariable = 'TRUSTCAST_TOKEN_PIN'

type Refusal = readonly [pattern: RegExp, code: TokenErrorCode, problem: string, remedy: string]

/** What the tool says, in the order in which it is looked for. */
const refusals: readonly Refusal[] = [
  [/CKR_PIN_LOCKED/, 'TOKEN_LOCKED', 'the token takes no more PINs', 'Unblock it with its PUK.'],
  [
    /CKR_PIN_|Invalid PIN/,
    'TOKEN_WRONG_PIN',
    'the PIN is wrong',
    'Mind how many attempts are left: pkcs11-tool --list-token-slots',
  ],
  [
    /Failed to load pkcs11 module/,
    'TOKEN_MISSING',
    'the module cannot be loaded',
    'Name the PKCS #11 library of the token, such as opensc-pkcs11.so.',
  ],
  [
    /CKR_TOKEN_NOT_|[Nn]o slot|Slot.*not found|token.*not found/,
    'TOKEN_MISSING',
    'there is no such token',
    'Put it in. See which there are: pkcs11-tool --list-token-slots',
  ],
  [
    /[Pp]rivate key not found|object not found/,
    'TOKEN_KEY_MISSING',
    'there is no such key',
    'See which there are: trustcast key list --pkcs11 MODULE',
  ],
]

function refusalOf(messages: string, module: string): TokenError {
  const found = refusals.find(([pattern]) => pattern.test(messages))
  const cause = new Error(messages.trim())
  if (found === undefined) {
    const line = /^error: .*$/m.exec(messages)?.[0] ?? 'it said nothing'
    return new TokenError('TOKEN_FAILED', `pkcs11-tool could not do it: ${line}`, { cause })
  }
  const [, code, problem, remedy] = found
  return new TokenError(code, `${module}: ${problem}`, { remedy, cause })
}

function toolMissing(cause: unknown, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted) return signal.reason
  if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') return cause
  return new TokenError('TOKEN_TOOL_MISSING', 'pkcs11-tool is not installed', {
    cause,
    remedy: 'Install OpenSC, on Debian: apt install opensc',
  })
}
