import { z } from 'zod'
import { VmError } from './vm-error.ts'

/** What QEMU says on its monitor. Spec: QMP, "QEMU Machine Protocol Specification", section 2.3 to 2.5. */
export type MonitorMessage =
  | { readonly kind: 'greeting' }
  | { readonly kind: 'return'; readonly id: number | undefined; readonly value: unknown }
  | { readonly kind: 'error'; readonly id: number | undefined; readonly class: string; readonly text: string }
  | { readonly kind: 'event'; readonly name: string; readonly data: Readonly<Record<string, unknown>> }

/** A line of the monitor has at most so many bytes; the longest that is asked for is far shorter. */
export const maximumLineBytes = 1_048_576

const id = z.int().min(0).optional()
const schema = z.union([
  z.looseObject({ QMP: z.looseObject({}) }).transform(() => ({ kind: 'greeting' as const })),
  z
    .looseObject({ event: z.string().max(100), data: z.looseObject({}).optional() })
    .transform(({ event, data = {} }) => ({ kind: 'event' as const, name: event, data })),
  z
    .looseObject({ error: z.looseObject({ class: z.string(), desc: z.string() }), id })
    .transform(({ error, id }) => ({ kind: 'error' as const, id, class: error.class, text: error.desc })),
  z
    .looseObject({ return: z.unknown(), id })
    .refine((message) => Object.hasOwn(message, 'return'))
    .transform(({ return: value, id }) => ({ kind: 'return' as const, id, value })),
])

/** @throws {VmError} VM_BAD_MONITOR */
export function decodeMonitorMessage(line: string): MonitorMessage {
  try {
    return schema.parse(JSON.parse(line))
  } catch (cause) {
    throw new VmError('VM_BAD_MONITOR', `expected a message of the monitor, got ${line.slice(0, 200)}`, {
      cause,
    })
  }
}

/** One line. @param id comes back with the answer */
export function encodeMonitorCommand(id: number, command: string, args?: object): string {
  return `${JSON.stringify({ execute: command, ...(args !== undefined && { arguments: args }), id })}\n`
}
