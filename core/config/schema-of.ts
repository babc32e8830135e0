import { z } from 'zod'
import { JsonError, type Shape } from '#core/json/index.ts'

/** A shape as a schema, for what is read with schemas. It says the first thing that is wrong. */
export function schemaOf<T>(shape: Shape<T>): z.ZodType<T> {
  return z.unknown().transform((value, context) => {
    try {
      return shape(value)
    } catch (error) {
      if (!(error instanceof JsonError)) throw error
      const { reason: message, path } = error
      context.issues.push({ code: 'custom', message, path: [...path], input: value })
      return z.NEVER
    }
  })
}
