export { removeAccount } from './account.ts'
export type { DisplayLog } from './context.ts'
export { createXvncDisplayServer, type XvncOptions } from './display-server.ts'
export { debianPackages } from './packages.ts'
