import { execFile } from 'node:child_process'

const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
const timeoutMs = 15_000
const maxOutputBytes = 8 * 1024 * 1024

/** How a program ended. */
export interface Ran {
  /** Undefined when it is not there, or was killed. */
  readonly status: number | undefined
  readonly stdout: string
}

/** Runs a program without a shell, in English. @throws the signal's reason */
export async function run(program: string, words: readonly string[], signal: AbortSignal): Promise<Ran> {
  const ran = await new Promise<Ran>((resolve) => {
    const options = {
      env: { PATH: path, LC_ALL: 'C' },
      cwd: '/',
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
      maxBuffer: maxOutputBytes,
      signal,
    } as const
    execFile(program, words, options, (error, stdout) =>
      resolve({
        status: error === null ? 0 : typeof error.code === 'number' ? error.code : undefined,
        stdout,
      }),
    )
  })
  signal.throwIfAborted()
  return ran
}
