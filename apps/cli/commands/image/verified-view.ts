import { hash } from 'node:crypto'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { publishedMetadata, type ReleaseFetch } from '#adapters/releases-tuf/index.ts'
import { decodeMetadata, maximumMetadataBytes, ReleaseError } from '#core/release/index.ts'
import { rootLines } from './describe-roles.ts'

/** What this account has verified of a role by itself. */
export interface VerifiedView {
  /** The role's metadata as the release keys signed it; undefined when nothing is published. */
  readonly published: Uint8Array | undefined
  /** At first use: the root from which on all is verified, for people to compare. */
  readonly lines: readonly string[]
  /** Keeps that root: from now on only what follows from it counts. */
  pin(): Promise<void>
}

/**
 * Verifies what a site has published of a role, from the root on that this account met first.
 *
 * @param dir of this account, for this site
 * @param role root, targets or the name of an image
 * @throws {ReleaseError} RELEASE_…: it cannot be verified; whatever `fetch` throws
 */
export async function verifiedView(
  { dir, fetch }: { readonly dir: string; readonly fetch: ReleaseFetch },
  role: string,
  signal?: AbortSignal,
): Promise<VerifiedView> {
  const pinPath = join(dir, '1.root.json')
  const pinned = await readFile(pinPath).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  const rootBytes = pinned ?? (await fetch('1.root.json', maximumMetadataBytes.root, signal))
  if (rootBytes === undefined) return { published: undefined, lines: [], pin: async () => undefined }
  try {
    return {
      published: await publishedMetadata({ dir, rootBytes, fetch }, role, signal),
      lines: pinned === undefined ? firstUse(rootBytes, pinPath) : [],
      pin: async () => {
        if (pinned !== undefined) return
        await mkdir(dir, { recursive: true, mode: 0o700 })
        await writeFile(`${pinPath}.partial`, rootBytes, { mode: 0o600 })
        await rename(`${pinPath}.partial`, pinPath)
      },
    }
  } catch (error) {
    throw error instanceof ReleaseError ? notVerified(error) : error
  }
}

function firstUse(rootBytes: Uint8Array, path: string): readonly string[] {
  return [
    'This account meets the release keys of this site for the first time. Compare them with the other signers, not by way of the site:',
    `  first root    sha256:${hash('sha256', rootBytes)}`,
    ...rootLines(decodeMetadata('root', rootBytes).signed, undefined),
    `Once you have signed, it is kept in ${path}, and only what follows from it counts.`,
    '',
  ]
}

function notVerified(cause: ReleaseError): ReleaseError {
  return new ReleaseError(cause.code, `what the site publishes cannot be verified: ${cause.message}`, {
    cause,
    remedy:
      cause.code === 'RELEASE_ROLLBACK'
        ? 'Nothing was signed. Ask who runs the site whether it was restored from a backup: how it goes on is in docs/disks.md, “Restore”. If not, somebody may have taken over the site or the way to it: tell the other signers.'
        : 'Nothing was signed. Try again in a minute; if it stays, somebody may have taken over the site or the way to it: ask the other signers.',
  })
}
