import { PkiError } from './pki-error.ts'

/** The kinds of Trustcast's own parts. */
export const roles: readonly ['site', 'host', 'gateway', 'endpoint'] = ['site', 'host', 'gateway', 'endpoint']
export type Role = (typeof roles)[number]

/** Who a part of a site is. */
export interface SpiffeIdentity {
  readonly siteId: string
  readonly role: Role
  /** Letters, digits, `.`, `_`, `-`; begins with a letter or digit; at most 64. */
  readonly id: string
}

/**
 * `spiffe://<site id>/<role>/<id>`; the site is the trust domain.
 *
 * Source: SPIFFE-ID, sections 2.1 and 2.2
 *
 * @throws {PkiError} PKI_BAD_IDENTITY
 */
export function formatSpiffe(identity: SpiffeIdentity): string {
  const uri = `spiffe://${identity.siteId}/${identity.role}/${identity.id}`
  parseSpiffe(uri)
  return uri
}

/** @throws {PkiError} PKI_BAD_IDENTITY */
export function parseSpiffe(uri: string): SpiffeIdentity {
  const [, siteId, role, id] = pattern.exec(uri) ?? []
  if (siteId === undefined || role === undefined || id === undefined)
    throw new PkiError(
      'PKI_BAD_IDENTITY',
      `expected spiffe://SITE/ROLE/ID, got ${JSON.stringify(uri.slice(0, 200))}`,
    )
  return { siteId, role: role as Role, id }
}

const pattern: RegExp = new RegExp(
  `^spiffe://([a-z0-9-]{1,64})/(${roles.join('|')})/([A-Za-z0-9][A-Za-z0-9._-]{0,63})$`,
)
