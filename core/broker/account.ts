import { createHash } from 'node:crypto'

/**
 * The operating-system account that runs a person's sessions on every host of a site, such as `tc-alice-3f2a91`.
 * Readable in a prompt, and never an account that exists for another reason: the prefix and the digest of site and person see to that.
 *
 * @returns `[a-z][a-z0-9-]{0,31}`
 */
export function accountOf(siteId: string, person: { readonly id: string; readonly login: string }): string {
  const digest = createHash('sha256').update(`${siteId}\n${person.id}`).digest('hex').slice(0, 6)
  const readable = person.login
    .toLowerCase()
    .replaceAll(/[^a-z0-9]/g, '')
    .slice(0, 20)
  return `tc-${readable}-${digest}`
}
