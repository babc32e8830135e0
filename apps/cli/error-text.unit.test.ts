import { expect, test } from 'vitest'
import { MountError } from '#adapters/mount-nbd/index.ts'
import { DiskError } from '#apps/endpoint/disk/disk-error.ts'
import { CliError, usage } from './cli-error.ts'
import { errorText } from './error-text.ts'

test('a warning says what to do, where anybody knows that', () => {
  expect(errorText(new MountError('MOUNT_BUSY', 'sh uses it', { remedy: 'End sh.' }))).toBe(
    'MOUNT_BUSY: sh uses it\nEnd sh.\n',
  )
  expect(errorText(usage('something is missing'))).toBe('USAGE: something is missing\n')
  expect(errorText(new TypeError('unheard of'))).toBe('TypeError: unheard of\n')
})

test.each([
  new CliError('CLI_FILE_MISSING', 'x'),
  new DiskError('DISK_NOT_ANSWERING', 'x'),
  new MountError('MOUNT_FAILED', 'x'),
])('$code is never without a remedy', (error) => {
  expect(errorText(error).split('\n')).toEqual([`${error.code}: x`, expect.stringMatching(/\.$/), ''])
})
