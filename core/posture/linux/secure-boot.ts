import type { Observation } from '#core/evidence/observation.ts'
import { observe, unknown } from '../observe.ts'

/** Variables of the firmware as efivarfs gives them: four bytes of attributes, then the value. */
export interface FirmwareFacts {
  /** The system booted by UEFI. */
  readonly isUefi: boolean
  /** The kernel shows any: without runtime services of the firmware, as real-time kernels have it, it shows none. */
  readonly hasVariables: boolean
  readonly secureBoot: Uint8Array | undefined
  readonly setupMode: Uint8Array | undefined
  /** Set by shim when the person let it start anything. */
  readonly mokSbState: Uint8Array | undefined
}

const claim = 'endpoint.secureBoot'
const collector = 'efivars'

/** Spec: UEFI 2.10, 3.3 Globally Defined Variables; 32.3 Firmware/OS Key Exchange. */
export function judgeSecureBoot(facts: FirmwareFacts): Observation {
  const { isUefi, hasVariables, secureBoot, setupMode, mokSbState } = facts
  if (!isUefi) return observe(claim, 'off', collector, 'this system did not boot by UEFI')
  if (!hasVariables) return unknown(claim, collector, 'the kernel does not show what the firmware is set to')
  if (secureBoot === undefined) return observe(claim, 'off', collector, 'the firmware has no Secure Boot')
  const isOn = flagIn(secureBoot)
  if (isOn === undefined)
    return unknown(claim, collector, 'the firmware says neither that Secure Boot is on nor that it is off')
  if (!isOn) return observe(claim, 'off', collector, 'Secure Boot is off in the firmware')
  if (setupMode !== undefined && flagIn(setupMode) !== false)
    return observe(claim, 'off', collector, 'the firmware is in setup mode: anybody may enter keys')
  if (mokSbState !== undefined && flagIn(mokSbState) !== false)
    return observe(claim, 'off', collector, 'shim does not check what it starts')
  return observe(claim, 'on', collector, 'Secure Boot is on')
}

function flagIn(variable: Uint8Array): boolean | undefined {
  if (variable.length !== 5) return undefined
  return variable[4] === 1 ? true : variable[4] === 0 ? false : undefined
}
