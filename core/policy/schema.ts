import { claimNames } from '#core/trust/claims.ts'
import {
  type DataPlace,
  type DeliveryMode,
  dataPlaces,
  deliveryModes,
  placeOf,
  type Right,
  rights,
} from '#core/trust/words.ts'

/** What a policy can be asked: to deliver in a mode, or to grant a right inside a delivery. */
export type PolicyAction = DeliveryMode | Right

export const policyActions: readonly PolicyAction[] = [...deliveryModes, ...rights]

/** The action that all modes of one data place belong to, so that a policy can speak of the place. */
export function placeAction(place: DataPlace): string {
  return `data:${place}`
}

/** The action that every right belongs to. */
export const rightsAction = 'rights'

/** @returns the action group that an action belongs to */
export function parentOf(action: PolicyAction): string {
  return isRight(action) ? rightsAction : placeAction(placeOf[action])
}

export function isRight(action: PolicyAction): action is Right {
  return rights.some((right) => right === action)
}

/**
 * The Cedar schema, written from the words of the product and the claim vocabulary so that they cannot differ.
 *
 * Every attribute is required: `unknown` is a value, never an absence. Rights also see the `mode` they would be
 * used in.
 */
export const policySchema: string = [
  'entity Group;',
  'entity Person in [Group];',
  'entity Collection;',
  'entity Workspace in [Collection];',
  'type Claim = { value: String, source: String, ageSec: Long };',
  ...dataPlaces.map((place) => `action "${placeAction(place)}";`),
  `action "${rightsAction}";`,
  ...policyActions.map((action) => {
    const context = isRight(action) ? `${claimRecords()}, mode: String` : claimRecords()
    return `action "${action}" in [Action::"${parentOf(action)}"] appliesTo { principal: Person, resource: Workspace, context: { ${context} } };`
  }),
].join('\n')

/** `endpoint: { management: Claim, … }, network: { … }, …` */
function claimRecords(): string {
  const bySubject = Map.groupBy(claimNames, (name) => name.split('.')[0])
  return [...bySubject]
    .map(
      ([subject, names]) =>
        `${subject}: { ${names.map((name) => `${name.split('.')[1]}: Claim`).join(', ')} }`,
    )
    .join(', ')
}
