export { KeyFileError, type KeyFileErrorCode } from './errors.ts'
export { createKeyFile, openKeyFile, publicPathOf, readKeyFile } from './key-file.ts'
