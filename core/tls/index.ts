export { type CipherSuite, cipherSuite } from './cipher-suite.ts'
export { type DirectionState, type Established, type Received, TlsConnection } from './connection.ts'
export { TlsError, type TlsErrorCode } from './errors.ts'
export { contentType, headerBytes, RecordSplitter, recordBytes } from './record.ts'
