export { listTokenKeys, openTokenKey, type TokenKey, type TokenPlace } from './token-keys.ts'
