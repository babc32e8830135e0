export { type CipherSuite, cipherSuite } from './cipher-suite.ts'
export { type DirectionState, type Established, type Received, TlsConnection } from './connection.ts'
export { contentType, RecordSplitter } from './record.ts'
