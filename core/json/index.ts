export { decodeJson } from './decode-json.ts'
export { JsonError, type JsonErrorCode } from './json-error.ts'
export {
  bool,
  fields,
  fits,
  kinds,
  list,
  nullish,
  number,
  object,
  oneOf,
  optional,
  record,
  type Shape,
  type Shaped,
  string,
  text,
  unknown,
  where,
  whole,
} from './shape.ts'
