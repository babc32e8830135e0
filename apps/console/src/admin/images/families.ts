import type { ImageView, ReleasesView } from '#core/api/releases.ts'

/** What the site knows of images, put together by family. */

export type Role = Omit<ReleasesView['images'][number], 'name' | 'releases' | 'channels'>
export type Release = ReleasesView['images'][number]['releases'][number]
export type Channel = ReleasesView['images'][number]['channels'][number]

export interface Family {
  readonly name: string
  /** Undefined while nobody is named to sign it. */
  readonly role: Role | undefined
  /** The newest first. */
  readonly releases: readonly Release[]
  readonly channels: readonly Channel[]
  readonly unreleased: readonly ImageView[]
  /** Every image that was registered, by version. */
  readonly images: ReadonlyMap<string, ImageView>
}

export function familiesOf(all: ReleasesView, images: readonly ImageView[]): readonly Family[] {
  const names = new Set([...all.images, ...all.unreleased].map(({ name }) => name))
  return [...names].toSorted().map((name) => {
    const delegated = all.images.find((image) => image.name === name)
    return {
      name,
      role: delegated,
      releases: delegated?.releases ?? [],
      channels: delegated?.channels ?? [],
      unreleased: all.unreleased.filter((image) => image.name === name),
      images: new Map(images.filter((image) => image.name === name).map((image) => [image.version, image])),
    }
  })
}

/** Days before it ends in which people should sign what they signed anew. */
const nearDays = 30

/** How near the end of signed metadata is, for a warning in time. */
export function expiryOf(
  { expiresAt }: Pick<Role, 'expiresAt'>,
  now: number,
): { readonly minutes: number; readonly state: 'good' | 'near' | 'over' } | undefined {
  if (expiresAt === undefined) return undefined
  const minutes = Math.floor((Date.parse(expiresAt) - now) / 60_000)
  return { minutes, state: minutes < 0 ? 'over' : minutes < nearDays * 1440 ? 'near' : 'good' }
}
