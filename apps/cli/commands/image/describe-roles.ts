import { keyIdOf, keyLabel, type Metadata, type TufKey } from '#core/release/index.ts'

type Root = Metadata<'root'>['signed']
type Targets = Metadata<'targets'>['signed']
interface Role {
  readonly keyids: readonly string[]
  readonly threshold: number
}
type Keys = Readonly<Record<string, TufKey>>

/** Who signs what, compared with the root before it; all of it when there was none. */
export function rootLines({ keys, roles }: Root, before: Root | undefined): readonly string[] {
  return Object.entries(roles).flatMap(([name, role]) =>
    roleLines(name, role, keys, before && roleNamed(before.roles, name)),
  )
}

/** Who signs which image, compared with the targets before it; all of it when there were none. */
export function targetsLines(
  { delegations: { keys, roles } }: Targets,
  before: Targets | undefined,
): readonly string[] {
  const old = before?.delegations.roles ?? []
  const gone = old.filter((role) => !roles.some(({ name }) => name === role.name))
  return [
    ...roles.flatMap((role) =>
      roleLines(
        role.name,
        role,
        keys,
        old.find(({ name }) => name === role.name),
        before !== undefined,
      ),
    ),
    ...gone.map(({ name }) => `  ${name}: NOBODY signs it any more`),
  ]
}

function roleLines(
  name: string,
  role: Role,
  keys: Keys,
  before: Role | undefined,
  isLater: boolean = before !== undefined,
): readonly string[] {
  const isSame =
    before !== undefined &&
    before.threshold === role.threshold &&
    before.keyids.length === role.keyids.length &&
    before.keyids.every((id) => role.keyids.includes(id))
  const lost = before?.keyids.filter((id) => !role.keyids.includes(id)) ?? []
  return [
    `  ${name}: ${role.threshold} of ${role.keyids.length} must sign${isSame ? ', as before' : changeOf(before, isLater)}`,
    ...role.keyids.map((id) => {
      const key = keys[id]
      const isNew = isLater && before?.keyids.includes(id) !== true
      return `    ${key === undefined ? 'unknown' : keyLabel(key)}  ${key === undefined ? id : keyIdOf(key)}${isNew ? '  NEW' : ''}`
    }),
    ...lost.map((id) => `    no longer  ${id}`),
  ]
}

function changeOf(before: Role | undefined, isLater: boolean): string {
  if (before !== undefined) return `, before ${before.threshold} of ${before.keyids.length}`
  return isLater ? ', NEW' : ''
}

function roleNamed(roles: Root['roles'], name: string): Role | undefined {
  return Object.entries(roles).find(([role]) => role === name)?.[1]
}
