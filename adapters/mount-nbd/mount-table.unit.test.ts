import { expect, test } from 'vitest'
import { parseMountinfo } from './mount-table.ts'

test('reads mount points with spaces, optional fields and lines that are none', () => {
  const text = [
    '36 35 98:0 /mnt1 /a\\040b\\134c rw,noatime master:1 shared:2 - ext4 /dev/loop0 rw,errors=continue',
    '41 26 0:38 / /run/disk rw - fuse /dev/fuse rw,user_id=0',
    'nonsense',
    '',
  ].join('\n')
  expect(parseMountinfo(text)).toEqual([
    { id: 36, device: '98:0', point: '/a b\\c', type: 'ext4', source: '/dev/loop0' },
    { id: 41, device: '0:38', point: '/run/disk', type: 'fuse', source: '/dev/fuse' },
  ])
})
