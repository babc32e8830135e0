import { expect, test } from 'vitest'
import { metadataFileName, parseMetadataFileName } from './metadata-files.ts'

test.each(['root', 'targets', 'snapshot', 'debian', '1.debian', 'debian.json'])(
  '%s has a file for each version',
  (role) => {
    expect(parseMetadataFileName(metadataFileName(role, 12))).toEqual({ role, version: 12 })
  },
)

test('the timestamp has one file', () => {
  expect(metadataFileName('timestamp', 3)).toBe('timestamp.json')
  expect(parseMetadataFileName('timestamp.json')).toEqual({ role: 'timestamp', version: undefined })
})

test.each([
  '',
  'root.json',
  '0.root.json',
  '01.root.json',
  '1.timestamp.json',
  '1..json',
  '../1.root.json',
  '1.a/b.json',
])('%j is no file of metadata', (file) => {
  expect(parseMetadataFileName(file)).toBeUndefined()
})
