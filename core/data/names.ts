import type { DataCopy } from '#core/api/data.ts'
import type { DeliveryMode } from '#core/trust/words.ts'

/** What copies are shown with, which is what they are searched by. */

export const modeNames: Readonly<Record<DeliveryMode, string>> = {
  'hosted-shared': 'Shared host',
  'hosted-vm': 'Virtual machine',
  'hosted-blade': 'Dedicated machine',
  'streamed-disk': 'Streamed disk',
  'local-vm': 'Local virtual machine',
  'network-boot': 'Network boot',
}

export const copyStateNames: Readonly<Record<DataCopy['state'], string>> = {
  starting: 'Starting',
  'in-use': 'In use',
  disconnected: 'Disconnected',
  ending: 'Ending',
  offered: 'Starting',
  held: 'Held',
  withdrawn: 'Taken back',
  paused: 'Paused in memory',
  kept: 'Left behind',
  replicated: 'Replica',
}

export const zoneKindNames: Readonly<Record<DataCopy['zone']['kind'], string>> = {
  inside: 'Inside',
  outside: 'Outside',
  hostile: 'Hostile',
  unknown: 'Unknown',
}
