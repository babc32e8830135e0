import type { KeyObject, X509Certificate } from 'node:crypto'
import type { Logger } from 'pino'
import type { PasswordHasher } from '#adapters/identity-local/index.ts'
import type { Authority } from '#adapters/pki-x509/index.ts'
import type { Store } from '#adapters/store-postgres/index.ts'
import type { OnlineKeys } from '#core/release/index.ts'
import type { ReplicaStore } from '#core/replica/index.ts'
import type { Network } from '#core/trust/index.ts'
import type { AuditLog } from './audit-log.ts'
import type { SiteConfig } from './config.ts'
import type { Hints } from './hints.ts'
import type { Metrics } from './metrics.ts'
import type { FindRelease } from './releases/directing.ts'

/**
 * What every part of a site node works with. It holds no state of the site: that is in the store,
 * so that any node can serve any request.
 */
export interface Site {
  readonly config: SiteConfig
  readonly siteId: string
  /** What people's accounts on hosts are called by. It stays when the site moves to another root: what is in their homes is theirs. */
  readonly accountsOf: string
  /** Where browsers come from: scheme, name and port of `config.url`. */
  readonly origin: string
  /** Replaced while the node runs: its intermediate is renewed. Root and site stay. */
  authority: Authority
  /** Signs route tokens; gateways know its public half. */
  readonly routeKey: KeyObject
  /** Signs what the director says to endpoints; they know its public half since they enrolled. */
  readonly directorKey: KeyObject
  /** Encrypts image keys in the database; 32 bytes. */
  readonly imageSecret: Uint8Array
  /** Say which releases are current; the root, which people sign, names them. */
  readonly releaseKeys: OnlineKeys
  /** What is published for endpoints. */
  readonly findRelease: FindRelease
  /** Copies of what is written on endpoints. */
  readonly replicas: ReplicaStore
  /** The audit log's verifier key, for auditors. */
  readonly auditKey: string
  readonly trustedProxies: readonly Network[]
  /** When a node last had endpoints come to it that have not been heard yet, this one or another, Unix ms: see `isReturning`. */
  returningAt: number
  /** Who certifies the TPMs that are believed. */
  readonly tpmAuthorities: readonly X509Certificate[]
  readonly store: Store
  readonly hints: Hints
  readonly audit: AuditLog
  readonly hasher: PasswordHasher
  readonly metrics: Metrics
  readonly log: Logger
  readonly version: string
  now(): number
}
