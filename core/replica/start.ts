/** How an endpoint begins with an overlay that is replicated, before its disk is opened. */

/** One state of a replica. */
export interface ReplicaState {
  /** 0: none. */
  readonly sequence: number
  /** SHA-256 of its manifest, hexadecimal; empty for none. */
  readonly digest: string
}

/** What this endpoint remembers: the state that it sent or took last. */
export interface KnownReplica extends ReplicaState {
  /** Nothing was written here since. */
  readonly isUnchanged: boolean
}

export const noReplica: ReplicaState = { sequence: 0, digest: '' }

export interface StartingPoint {
  /** There is an overlay on this endpoint. */
  readonly isHere: boolean
  readonly known: KnownReplica
  /** What the data centre has; undefined: it could not be asked. */
  readonly offered: ReplicaState | undefined
}

export type ReplicaStart =
  /** With what is here, or with nothing. All that is here is compared with what is there, unless nothing was written since. */
  | 'go-on'
  /** With what the data centre has: here is nothing. */
  | 'take'
  /** Likewise; what is here is put aside first, since it was never sent. */
  | 'take-aside'
  /** With what is here: the data centre has less, and is sent all of it again. */
  | 'send-again'
  /** Not at all: here is nothing, and what the data centre has is older than what was here before. */
  | 'refuse-older'
  /** Not at all: here is nothing, and what the data centre has cannot be asked for. */
  | 'refuse-unasked'

/** INVARIANT: nothing that was written is lost by it, and what is older than what this endpoint knows is never taken. */
export function startOf({ isHere, known, offered }: StartingPoint): ReplicaStart {
  if (offered === undefined) return isHere ? 'go-on' : 'refuse-unasked'
  if (offered.sequence < known.sequence) return isHere ? 'send-again' : 'refuse-older'
  if (offered.sequence === 0) return 'go-on'
  if (!isHere) return 'take'
  // Two may have made a state of the same number, where replicas were put back.
  if (offered.digest === known.digest) return 'go-on'
  return known.isUnchanged ? 'take' : 'take-aside'
}
