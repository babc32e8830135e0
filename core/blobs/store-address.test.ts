import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { BlobError } from './errors.ts'
import { parseStoreAddress } from './store-address.ts'

test.each([
  ['/srv/images', { kind: 'directory', path: '/srv/images' }],
  ['images', { kind: 'directory', path: 'images' }],
  ['./a:b', { kind: 'directory', path: './a:b' }],
  ['C:/images', { kind: 'directory', path: 'C:/images' }],
  ['https://cdn.example/images', { kind: 'http', url: 'https://cdn.example/images/' }],
  ['https://cdn.example:8443/', { kind: 'http', url: 'https://cdn.example:8443/' }],
  ['http://127.0.0.1:80/x/', { kind: 'http', url: 'http://127.0.0.1/x/' }],
  ['http://[::1]:8080', { kind: 'http', url: 'http://[::1]:8080/' }],
  ['http://localhost:1', { kind: 'http', url: 'http://localhost:1/' }],
  ['oci://registry.example', { kind: 'registry', url: 'https://registry.example', prefix: '' }],
  ['oci://registry.example/', { kind: 'registry', url: 'https://registry.example', prefix: '' }],
  ['oci://r:5000/images/desks', { kind: 'registry', url: 'https://r:5000', prefix: 'images/desks' }],
  ['oci+http://127.8.8.8:5000/images/', { kind: 'registry', url: 'http://127.8.8.8:5000', prefix: 'images' }],
])('%s', (text, address) => {
  expect(parseStoreAddress(text)).toEqual(address)
})

test.each([
  '',
  'a\0b',
  'ftp://host/images',
  'constructor://host',
  'docker://host/images',
  'https://',
  'https://host:99999/',
  'https://user:secret@host/images',
  'oci://user@host/images',
  'https://host/images?x=1',
  'https://host/images#x',
  'oci://host/Images',
  'oci://host/a//b',
  'oci://host/a/../../b/_c',
  `oci://host/${'a'.repeat(127)}`,
  'x'.repeat(5000),
])('%j is no address of a store', (text) => {
  expect(() => parseStoreAddress(text)).toThrow(
    expect.objectContaining({ code: 'BLOB_BAD_STORE', remedy: expect.any(String) }),
  )
})

test.each([
  'http://cdn.example/images',
  'http://10.0.0.1/',
  'http://128.0.0.1/',
  'http://[::ffff:10.0.0.1]/',
  'http://127.0.0.1.example/',
  'http://localhost.example/',
  'oci+http://registry.example:5000/images',
])('%s would cross the network in the clear and is refused', (text) => {
  expect(() => parseStoreAddress(text)).toThrow(
    expect.objectContaining({ code: 'BLOB_BAD_STORE', message: expect.stringContaining('encryption') }),
  )
})

test('no message repeats a password', () => {
  try {
    parseStoreAddress('http://user:topsecret@cdn.example/?a=b')
    expect.unreachable()
  } catch (error) {
    expect(String(error)).not.toContain('topsecret')
  }
})

test('any text is an address or refused with a code', () => {
  const scheme = fc.constantFrom('http://', 'https://', 'oci://', 'oci+http://', 'x://', '')
  fc.assert(
    fc.property(scheme, fc.string(), (scheme, rest) => {
      try {
        const address = parseStoreAddress(scheme + rest)
        if (address.kind !== 'directory') expect(address.url).toMatch(/^https?:\/\//)
      } catch (error) {
        expect(error).toBeInstanceOf(BlobError)
      }
    }),
  )
})
