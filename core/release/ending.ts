import { decodeAnyMetadata } from './metadata.ts'
import type { Repository } from './publish.ts'

/** What people signed and must sign again before its time is up. */
export interface EndingRole {
  /** `root`, `targets`, or the name of an image. */
  readonly role: string
  /** Unix ms. */
  readonly endsAtMs: number
}

/** @returns what people signed of these images, and of who signs at all, and what ends before a time, Unix ms */
export function endingRoles(
  { root, targets, families }: Repository,
  images: Iterable<string>,
  beforeMs: number,
): readonly EndingRole[] {
  const signed = [
    ['root', root] as const,
    ['targets', targets] as const,
    ...[...new Set(images)].map((name) => [name, families.get(name)] as const),
  ]
  return signed.flatMap(([role, bytes]) => {
    if (bytes === undefined) return []
    const endsAtMs = Date.parse(decodeAnyMetadata(bytes).signed.expires)
    return endsAtMs < beforeMs ? [{ role, endsAtMs }] : []
  })
}
