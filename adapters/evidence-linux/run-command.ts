import { execFile } from 'node:child_process'
import type { CommandOutput } from '#core/posture/index.ts'

const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
const timeoutMs = 60_000
const maxOutputBytes = 4 * 1024 * 1024

export interface RunOptions {
  /** Another account than our own; needs root. */
  readonly as?: { readonly uid: number; readonly gid: number }
  readonly environment?: Readonly<Record<string, string>>
}

/**
 * Runs a program without a shell, at low priority, in English. Too long, too much or not there is an output without a status.
 *
 * @throws the reason of `signal`
 */
export async function runCommand(
  [program, ...words]: readonly [program: string, ...words: string[]],
  signal?: AbortSignal,
  { as, environment }: RunOptions = {},
): Promise<CommandOutput> {
  const output = await new Promise<CommandOutput>((resolve) => {
    const child = execFile(
      program,
      words,
      {
        // What Windows programs need is in their own environment.
        env: process.platform === 'win32' ? process.env : { PATH: path, LC_ALL: 'C', ...environment },
        cwd: process.platform === 'win32' ? undefined : '/',
        timeout: timeoutMs,
        killSignal: 'SIGKILL',
        maxBuffer: maxOutputBytes,
        windowsHide: true,
        ...as,
        ...(signal && { signal }),
      },
      (error, stdout, stderr) =>
        resolve({ status: error === null ? 0 : statusIn(error.code), stdout, stderr }),
    )
    child.stdin?.end()
  })
  signal?.throwIfAborted()
  return output
}

function statusIn(code: unknown): number | undefined {
  return typeof code === 'number' ? code : undefined
}
