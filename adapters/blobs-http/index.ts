export type { HttpOptions } from './http-client.ts'
export { openHttpLayout } from './layout-reader.ts'
export { type Credentials, openRegistry, type RegistryOptions } from './registry-store.ts'
