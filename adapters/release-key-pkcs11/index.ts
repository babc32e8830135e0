export { TokenError, type TokenErrorCode } from './errors.ts'
export { listTokenKeys, openTokenKey, type TokenKey, type TokenPlace } from './token-keys.ts'
