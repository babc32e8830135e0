import { CodedError } from '#core/errors/coded-error.ts'

/** What runs on a display: a whole desktop, or one application that fills the screen. */
export type Program =
  | { readonly kind: 'desktop' }
  /** `command` is an argv: no shell reads it. */
  | { readonly kind: 'application'; readonly command: readonly string[] }

/** What one session may use of its host. Enforced as far as the host's kernel lets the agent. */
export interface DisplayLimits {
  readonly memoryMiB: number
  /** Processes and threads together. */
  readonly processes: number
  /** 100 is one processor. */
  readonly cpuPercent: number
}

export interface DisplayRequest {
  /** Unique per site, `[A-Za-z0-9_-]{1,64}`. */
  readonly sessionId: string
  /**
   * Name of the operating-system user that the programs run as, `[a-z][a-z0-9-]{0,31}`, made by the caller.
   * It must be the same for the same person on the same site and differ between sites that share a machine.
   */
  readonly account: string
  readonly fullName: string
  readonly program: Program
  /** Pixels. A viewer may change the size later. */
  readonly width: number
  readonly height: number
  readonly limits: DisplayLimits
}

/** A session's programs that have not taken their display over by then hang: the host ends them, and says what they wrote last. */
export const displayStartMs = 15_000

/** Why a display is gone. */
export interface DisplayEnd {
  /** The program quit by itself; the kernel killed it, or the display server, for want of memory; the display server died; somebody called `stop`. */
  readonly reason: 'program-quit' | 'out-of-memory' | 'display-died' | 'stopped'
  /** Last lines that the display and its programs wrote. */
  readonly log: string
}

/** What a session uses now. */
export interface DisplayUsage {
  readonly memoryBytes: number
  readonly processes: number
}

/** Which way a clipboard may flow: `in` is from the viewer into the session. */
export interface ClipboardSwitches {
  readonly in: boolean
  readonly out: boolean
}

/**
 * One running session: a display server and a person's programs on it.
 *
 * Lifetime: from `start` or `adopt` until `ended` resolves; it outlives the agent that started it.
 * Concurrency: every method may be called at any time, from anywhere.
 */
export interface Display {
  readonly sessionId: string
  /** A unix socket, 0600, that speaks RFB without authentication to whoever may open it: the agent, as root. */
  readonly socketPath: string
  /** Unix time, ms. */
  readonly startedAt: number
  /** Resolves once, never rejects, when no process and no file of the session is left, whatever ended it. */
  readonly ended: Promise<DisplayEnd>
  /**
   * Sets the display server's own clipboard switches: the second line behind the filter on the RFB stream.
   * A program of the session may turn them on again, so they alone enforce nothing against the person.
   */
  setClipboard(allowed: ClipboardSwitches): Promise<void>
  usage(): Promise<DisplayUsage>
  /** Ends every process of the session, also those that hid from it. Idempotent; resolves with `ended`. */
  stop(): Promise<void>
}

/**
 * Runs displays on this machine.
 *
 * Lifetime: one at a time for a run directory; a second one is refused. Displays outlive it.
 * Concurrency: every method may be called at any time. Call `adopt` once, before anything else.
 */
export interface DisplayServer {
  /** Displays that wait ready for a person now. */
  readonly warm: number
  /** Keeps this many displays warm from now on; failures are logged and tried again. */
  prelaunch(count: number): void
  /**
   * Starts a session and resolves when its window manager runs. Takes a warm display if there is one.
   * Idempotent: a session id that runs or starts already gives the same display.
   *
   * @param signal ends a start that is under way; nothing of it is left
   * @throws {DisplayError}
   */
  start(request: DisplayRequest, signal: AbortSignal): Promise<Display>
  /**
   * Removes an account with its home, while none of its sessions runs here. Idempotent; nothing of the home comes back when it resolves.
   *
   * @throws {DisplayError} DISPLAY_ACCOUNT_IN_USE, DISPLAY_ACCOUNT_FOREIGN, DISPLAY_ACCOUNT_FAILED
   */
  discard(account: string): Promise<void>
  /** Takes over what a dead agent left whole, and ends and cleans up everything else that it left. */
  adopt(): Promise<readonly Display[]>
  /** Ends warm displays and starts under way. Sessions go on, for the next agent to adopt. */
  [Symbol.asyncDispose](): Promise<void>
}

export type DisplayErrorCode =
  | 'DISPLAY_NEEDS_ROOT'
  | 'DISPLAY_PEER_MISSING'
  | 'DISPLAY_RUN_DIR_UNFIT'
  | 'DISPLAY_RUN_DIR_BUSY'
  | 'DISPLAY_BAD_REQUEST'
  | 'DISPLAY_ACCOUNT_FOREIGN'
  | 'DISPLAY_ACCOUNT_FAILED'
  | 'DISPLAY_ACCOUNT_IN_USE'
  | 'DISPLAY_START_FAILED'
  | 'DISPLAY_ENDED'

/** A display could not be had, or is gone. */
export class DisplayError extends CodedError<DisplayErrorCode> {}
