export { createKeyFile, openKeyFile, publicPathOf, readKeyFile } from './key-file.ts'
