import { keyLabel, type Metadata, type TufKey } from '#core/release/index.ts'
import { printable } from '../../printable.ts'

type Root = Metadata<'root'>['signed']
type Targets = Metadata<'targets'>['signed']
interface Role {
  readonly keyids: readonly string[]
  readonly threshold: number
}

/** A role, and all keys of the metadata that names it. */
interface Signers extends Role {
  readonly table: Readonly<Record<string, TufKey>>
}

/** Who signs what, compared with the root before it; all of it when there was none. */
export function rootLines({ keys, roles }: Root, before: Root | undefined): readonly string[] {
  return Object.entries(roles).flatMap(([name, role]) => {
    const old = before && roleNamed(before.roles, name)
    return roleLines(
      name,
      { ...role, table: keys },
      old && { ...old, table: before.keys },
      before !== undefined,
    )
  })
}

/** Who signs which image, compared with the targets before it; all of it when there were none. */
export function targetsLines(
  { delegations: { keys, roles } }: Targets,
  before: Targets | undefined,
): readonly string[] {
  const { roles: old = [], keys: oldKeys = {} } = before?.delegations ?? {}
  const gone = old.filter((role) => !roles.some(({ name }) => name === role.name))
  return [
    ...roles.flatMap((role) => {
      const was = old.find(({ name }) => name === role.name)
      return roleLines(
        role.name,
        { ...role, table: keys },
        was && { ...was, table: oldKeys },
        before !== undefined,
      )
    }),
    ...gone.map(({ name }) => `  ${name}: NOBODY signs it any more`),
  ]
}

function roleLines(
  name: string,
  role: Signers,
  before: Signers | undefined,
  isLater: boolean,
): readonly string[] {
  const lost = before?.keyids.filter((id) => !role.keyids.includes(id)) ?? []
  return [
    `  ${name}: ${role.threshold} of ${role.keyids.length} must sign${changeOf(role, before, isLater)}`,
    ...role.keyids.map(
      (id) => `    ${id}  ${nameIn(role, id)}${isLater ? changeOfKey(id, role, before) : ''}`,
    ),
    ...lost.map((id) => `    no longer  ${id}  ${before === undefined ? '' : nameIn(before, id)}`),
  ]
}

/** The id comes first and is what counts: a name is what whoever proposed the key calls it. */
function nameIn({ table }: Signers, id: string): string {
  const key = Object.hasOwn(table, id) ? table[id] : undefined
  return key === undefined ? 'unknown' : printable(keyLabel(key))
}

function changeOfKey(id: string, role: Signers, before: Signers | undefined): string {
  if (before?.keyids.includes(id) !== true) return '  NEW'
  return nameIn(before, id) === nameIn(role, id) ? '' : `  RENAMED, before: ${nameIn(before, id)}`
}

function changeOf(role: Signers, before: Signers | undefined, isLater: boolean): string {
  if (before === undefined) return isLater ? ', NEW' : ''
  const isSame =
    before.threshold === role.threshold &&
    before.keyids.length === role.keyids.length &&
    before.keyids.every((id) => role.keyids.includes(id))
  if (!isSame) return `, before ${before.threshold} of ${before.keyids.length}`
  const isRenamed = role.keyids.some((id) => nameIn(before, id) !== nameIn(role, id))
  return isRenamed ? ', the same keys by other names' : ', as before'
}

function roleNamed(roles: Root['roles'], name: string): Role | undefined {
  return Object.entries(roles).find(([role]) => role === name)?.[1]
}
