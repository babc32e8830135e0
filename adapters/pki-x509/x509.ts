import { createRequire } from 'node:module'
import type * as x509Library from '@peculiar/x509'

type Library = typeof x509Library

const require = createRequire(import.meta.url)
let library: Library | undefined

/** The library, which is large, from its first use on: most commands make and read no certificate. */
export function x509(): Library {
  if (library === undefined) {
    // Must run before the library, which resolves its converters through it.
    require('reflect-metadata')
    library = require('@peculiar/x509') as Library
  }
  return library
}
