import { CodedError } from '#core/errors/coded-error.ts'

export type ReplicaErrorCode =
  /** A piece or a manifest is not what was written under the key. */
  | 'REPLICA_CORRUPT'
  /** A manifest has not the form of one. */
  | 'REPLICA_MALFORMED'
  /** A manifest is of another disk, image or person. */
  | 'REPLICA_OTHER_BASE'
  /** The data centre has an older state than this endpoint has sent or taken. */
  | 'REPLICA_ROLLED_BACK'
  /** More was written than a replica may hold. */
  | 'REPLICA_TOO_LARGE'
  /** Somebody else has gone on with it. */
  | 'REPLICA_CONFLICT'
  /** A manifest names pieces that are not there. */
  | 'REPLICA_INCOMPLETE'
  /** The site does not let this lease use it, or not any more. */
  | 'REPLICA_REFUSED'
  /** It cannot be asked for now. */
  | 'REPLICA_UNREACHABLE'
  /** The lease is over: the keys are gone. */
  | 'REPLICA_KEY_GONE'

/** What is wrong with the copy in the data centre of what was written on an endpoint. */
export class ReplicaError extends CodedError<ReplicaErrorCode> {}

export function corrupt(what: string, cause?: unknown): ReplicaError {
  return new ReplicaError('REPLICA_CORRUPT', `${what} in the data centre is not what was written`, {
    remedy:
      'What is on this device was left as it was. Ask an admin to put the folder of replicas back, or to remove this one on the page Data.',
    cause,
  })
}

export function malformed(problem: string, cause?: unknown): ReplicaError {
  return new ReplicaError('REPLICA_MALFORMED', `the manifest of a replica: ${problem}`, {
    remedy: 'Ask an admin to remove this replica on the page Data: what is on a device stays there.',
    cause,
  })
}
