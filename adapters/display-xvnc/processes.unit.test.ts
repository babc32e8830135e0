import { assert, property, string } from 'fast-check'
import { expect, test } from 'vitest'
import { parseMountinfo } from './cgroup.ts'
import { parseStat } from './processes.ts'
import { encodeXauthority } from './xauthority.ts'

test('the state of a process is read past a command that holds spaces and parentheses', () => {
  const fields = ['S', '1', '77', '78', ...Array.from({ length: 15 }, () => '0'), '4711', '0']
  expect(parseStat(`42 (a) b (c) ${fields.join(' ')}`)).toEqual({
    state: 'S',
    session: 78,
    startTime: '4711',
  })
  expect(parseStat('')).toBeUndefined()
  expect(parseStat('42 (cut')).toBeUndefined()
})

test('cgroup mounts of both versions are found beside each other', () => {
  const mountinfo = [
    '24 1 0:5 / /proc rw - proc proc rw',
    '30 24 0:26 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct',
    '31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory',
    '32 24 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate',
    '33 24 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd',
    '',
  ].join('\n')
  expect(parseMountinfo(mountinfo)).toEqual({
    cpu: '/sys/fs/cgroup/cpu,cpuacct',
    memory: '/sys/fs/cgroup/memory',
    unified: '/sys/fs/cgroup/unified',
  })
})

test('an Xauthority file names no host and no display, so that it fits every one', () => {
  const file = encodeXauthority(new Uint8Array(16).fill(0xab))
  expect(file.toString('hex')).toBe(
    `ffff0000000000124d49542d4d414749432d434f4f4b49452d310010${'ab'.repeat(16)}`,
  )
})

test('whatever a kernel may write there is read or passed over', () => {
  assert(
    property(string({ unit: 'binary' }), (text) => {
      parseStat(text)
      parseMountinfo(text)
    }),
  )
})
