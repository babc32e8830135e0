/** Numbers of the NBD protocol, by the names of its specification (proto.md, "Values"). */

export const NBD_MAGIC = 0x4e42444d41474943n
export const NBD_OPTS_MAGIC = 0x49484156454f5054n
export const NBD_REP_MAGIC = 0x0003e889045565a9n
export const NBD_REQUEST_MAGIC = 0x25609513
export const NBD_SIMPLE_REPLY_MAGIC = 0x67446698
export const NBD_STRUCTURED_REPLY_MAGIC = 0x668e33ef

/** Handshake flags; the client flags have the same bits. */
export const NBD_FLAG_FIXED_NEWSTYLE = 1
export const NBD_FLAG_NO_ZEROES = 2

/** Transmission flags. */
export const NBD_FLAG: {
  readonly HAS_FLAGS: 1
  readonly READ_ONLY: 2
  readonly SEND_FLUSH: 4
  readonly SEND_FUA: 8
  readonly SEND_TRIM: 32
  readonly SEND_WRITE_ZEROES: 64
  readonly SEND_DF: 128
  readonly CAN_MULTI_CONN: 256
  readonly SEND_CACHE: 1024
  readonly SEND_FAST_ZERO: 2048
} = {
  HAS_FLAGS: 1,
  READ_ONLY: 2,
  SEND_FLUSH: 4,
  SEND_FUA: 8,
  SEND_TRIM: 32,
  SEND_WRITE_ZEROES: 64,
  SEND_DF: 128,
  CAN_MULTI_CONN: 256,
  SEND_CACHE: 1024,
  SEND_FAST_ZERO: 2048,
}

export const NBD_OPT: {
  readonly EXPORT_NAME: 1
  readonly ABORT: 2
  readonly LIST: 3
  readonly STARTTLS: 5
  readonly INFO: 6
  readonly GO: 7
  readonly STRUCTURED_REPLY: 8
  readonly LIST_META_CONTEXT: 9
  readonly SET_META_CONTEXT: 10
} = {
  EXPORT_NAME: 1,
  ABORT: 2,
  LIST: 3,
  STARTTLS: 5,
  INFO: 6,
  GO: 7,
  STRUCTURED_REPLY: 8,
  LIST_META_CONTEXT: 9,
  SET_META_CONTEXT: 10,
}

export const NBD_REP: {
  readonly ACK: 1
  readonly SERVER: 2
  readonly INFO: 3
  readonly META_CONTEXT: 4
  readonly ERR_UNSUP: 0x80000001
  readonly ERR_INVALID: 0x80000003
  readonly ERR_TLS_REQD: 0x80000005
  readonly ERR_UNKNOWN: 0x80000006
} = {
  ACK: 1,
  SERVER: 2,
  INFO: 3,
  META_CONTEXT: 4,
  ERR_UNSUP: 0x80000001,
  ERR_INVALID: 0x80000003,
  ERR_TLS_REQD: 0x80000005,
  ERR_UNKNOWN: 0x80000006,
}

export const NBD_INFO: {
  readonly EXPORT: 0
  readonly NAME: 1
  readonly DESCRIPTION: 2
  readonly BLOCK_SIZE: 3
} = { EXPORT: 0, NAME: 1, DESCRIPTION: 2, BLOCK_SIZE: 3 }

export const NBD_CMD: {
  readonly READ: 0
  readonly WRITE: 1
  readonly DISC: 2
  readonly FLUSH: 3
  readonly TRIM: 4
  readonly CACHE: 5
  readonly WRITE_ZEROES: 6
  readonly BLOCK_STATUS: 7
} = { READ: 0, WRITE: 1, DISC: 2, FLUSH: 3, TRIM: 4, CACHE: 5, WRITE_ZEROES: 6, BLOCK_STATUS: 7 }

export const NBD_CMD_FLAG: {
  readonly FUA: 1
  readonly NO_HOLE: 2
  readonly DF: 4
  readonly REQ_ONE: 8
  readonly FAST_ZERO: 16
} = { FUA: 1, NO_HOLE: 2, DF: 4, REQ_ONE: 8, FAST_ZERO: 16 }

export const NBD_REPLY_FLAG_DONE = 1

export const NBD_REPLY_TYPE: {
  readonly NONE: 0
  readonly OFFSET_DATA: 1
  readonly OFFSET_HOLE: 2
  readonly BLOCK_STATUS: 5
  readonly ERROR: 0x8001
} = { NONE: 0, OFFSET_DATA: 1, OFFSET_HOLE: 2, BLOCK_STATUS: 5, ERROR: 0x8001 }

/** Status flags of `base:allocation`. */
export const NBD_STATE_HOLE = 1
export const NBD_STATE_ZERO = 2

/** Error values of replies. */
export const NBD_ERROR: {
  readonly EPERM: 1
  readonly EIO: 5
  readonly ENOMEM: 12
  readonly EINVAL: 22
  readonly ENOSPC: 28
  readonly EOVERFLOW: 75
  readonly ENOTSUP: 95
  readonly ESHUTDOWN: 108
} = { EPERM: 1, EIO: 5, ENOMEM: 12, EINVAL: 22, ENOSPC: 28, EOVERFLOW: 75, ENOTSUP: 95, ESHUTDOWN: 108 }

export type NbdErrno = (typeof NBD_ERROR)[keyof typeof NBD_ERROR]

/** The one metadata context of this server, and its ID. */
export const baseAllocation = 'base:allocation'
export const baseAllocationId = 1

/** Longest string of the protocol: export names, descriptions, messages, queries. */
export const maximumStringBytes = 4096
/** Longest option: a name and more queries than anybody has. */
export const maximumOptionBytes = 65_536 + maximumStringBytes
/** Bytes of data that one request may carry or ask for: what a server should at least take, 2^25. */
export const maximumPayloadBytes = 33_554_432
export const minimumBlockBytes = 1
export const preferredBlockBytes = 4096
