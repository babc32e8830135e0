import { JsonError } from './json-error.ts'

/**
 * What a value of JSON must be. Shapes say what a disk needs before its first block, and what imports one; elsewhere schemas are zod's, whose
 * modules take longer to load than all that an attachment does by itself.
 *
 * @returns the value, of which everything was looked at
 * @throws {JsonError} JSON_UNEXPECTED
 */
export type Shape<T> = (value: unknown) => T

/** The type that a shape gives. */
export type Shaped<S> = S extends Shape<infer T> ? T : never

export const unknown: Shape<unknown> = (value) => value

/** Any text. */
export const string: Shape<string> = (value) => {
  if (typeof value === 'string') return value
  throw unexpected('text', value)
}

/** @param expected for people, such as `a label` */
export function text(pattern: RegExp, expected: string): Shape<string> {
  return (value) => {
    if (typeof value === 'string' && pattern.test(value)) return value
    throw unexpected(expected, value)
  }
}

/** One of these. */
export function oneOf<const T extends string | number>(...values: readonly T[]): Shape<T> {
  const expected = values.map((value) => JSON.stringify(value)).join(' or ')
  return (value) => {
    const found = values.find((known) => known === value)
    if (found !== undefined) return found
    throw unexpected(expected, value)
  }
}

export const bool: Shape<boolean> = (value) => {
  if (typeof value === 'boolean') return value
  throw unexpected('true or false', value)
}

/** A number from `minimum` to `maximum`, both included. */
export function number(minimum: number, maximum: number): Shape<number> {
  return (value) => {
    if (typeof value === 'number' && value >= minimum && value <= maximum) return value
    throw unexpected(`a number from ${minimum} to ${maximum}`, value)
  }
}

/** A whole number, as `number`. */
export function whole(minimum: number, maximum = Number.MAX_SAFE_INTEGER): Shape<number> {
  return (value) => {
    if (Number.isSafeInteger(value)) return number(minimum, maximum)(value)
    throw unexpected(`a whole number from ${minimum} to ${maximum}`, value)
  }
}

/** The shape, and beyond it what `holds` says. */
export function where<T>(shape: Shape<T>, holds: (value: T) => boolean, expected: string): Shape<T> {
  return (value) => {
    const shaped = shape(value)
    if (holds(shaped)) return shaped
    throw unexpected(expected, value)
  }
}

export function fits(shape: Shape<unknown>, value: unknown): boolean {
  try {
    shape(value)
    return true
  } catch (error) {
    if (error instanceof JsonError) return false
    throw error
  }
}

/** Absent, or the shape. */
export function optional<T>(shape: Shape<T>): Shape<T | undefined> {
  return (value) => (value === undefined ? undefined : shape(value))
}

/** Absent, null, or the shape: what programs in Go write for nothing. */
export function nullish<T>(shape: Shape<T>): Shape<T | undefined> {
  return (value) => (value === undefined || value === null ? undefined : shape(value))
}

export function list<T>(shape: Shape<T>, minimum: number, maximum: number): Shape<T[]> {
  return (value) => {
    if (!Array.isArray(value)) throw unexpected('a list', value)
    if (value.length < minimum || value.length > maximum) {
      throw new JsonError('JSON_UNEXPECTED', `expected ${minimum} to ${maximum} entries, got ${value.length}`)
    }
    return value.map((entry: unknown, index) => at(index, shape, entry))
  }
}

/** An object that has any names. */
export function record<T>(name: Shape<string>, shape: Shape<T>): Shape<Record<string, T>> {
  return (value) => {
    const entries = Object.entries(members(value)).map(
      ([key, member]) => [at(key, name, key), at(key, shape, member)] as const,
    )
    // fromEntries defines properties: a key such as __proto__ stays a key.
    return Object.fromEntries(entries)
  }
}

type Shapes = Readonly<Record<string, Shape<unknown>>>
type OptionalNames<S> = { [K in keyof S]: undefined extends Shaped<S[K]> ? K : never }[keyof S]
type Fields<S> = { [K in Exclude<keyof S, OptionalNames<S>>]: Shaped<S[K]> } & {
  [K in OptionalNames<S>]?: Exclude<Shaped<S[K]>, undefined>
}

/** An object with these members and no others. */
export function object<const S extends Shapes>(shapes: S): Shape<Fields<S>> {
  const known = fields(shapes)
  return (value) => {
    const other = Object.keys(members(value)).find((name) => !Object.hasOwn(shapes, name))
    if (other === undefined) return known(value)
    throw new JsonError('JSON_UNEXPECTED', 'expected no member of this name', [other])
  }
}

/** These members of an object; what else it has is passed over. */
export function fields<const S extends Shapes>(shapes: S): Shape<Fields<S>> {
  const pairs = Object.entries(shapes)
  return (value) => {
    const object = members(value)
    const found: Record<string, unknown> = {}
    for (const [name, shape] of pairs) {
      const member = at(name, shape, Object.hasOwn(object, name) ? object[name] : undefined)
      if (member !== undefined) found[name] = member
    }
    return found as Fields<S>
  }
}

/** Objects that differ by what they have as `kind`. */
export function kinds<const S extends Readonly<Record<string, Shape<{ kind: string }>>>>(
  shapes: S,
): Shape<Shaped<S[keyof S]>> {
  const kind = fields({ kind: oneOf(...Object.keys(shapes)) })
  return (value) => shapes[kind(value).kind]?.(value) as Shaped<S[keyof S]>
}

function members(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>
  }
  throw unexpected('an object', value)
}

function at<T>(place: string | number, shape: Shape<T>, value: unknown): T {
  try {
    return shape(value)
  } catch (error) {
    throw error instanceof JsonError ? error.within(place) : error
  }
}

function unexpected(expected: string, value: unknown): JsonError {
  return new JsonError('JSON_UNEXPECTED', `expected ${expected}, got ${shown(value)}`)
}

/** Never the inside of a value, which may be as deep and as long as whoever sent it likes. */
function shown(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object' && value !== null) return 'an object'
  return JSON.stringify(typeof value === 'string' ? value.slice(0, 100) : value)
}
