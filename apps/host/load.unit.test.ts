import { expect, test } from 'vitest'
import { cpuPercent, parseAvailableMiB, parseCpuTicks } from './load.ts'

test('processor load is the busy part of the time between two looks', () => {
  const before = parseCpuTicks('cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 2 3\n')
  expect(before).toEqual({ busy: 200, total: 1000 })
  const now = parseCpuTicks('cpu  150 0 125 725 100 0 0 0 50 0\n')
  expect(cpuPercent(before, now)).toBe(75)
  expect(cpuPercent(now, now)).toBe(0)
  expect(cpuPercent(now, before)).toBe(0)
})

test('free memory is what programs can get', () => {
  expect(parseAvailableMiB('MemTotal: 9 kB\nMemAvailable:    2097152 kB\n')).toBe(2048)
  expect(parseAvailableMiB('')).toBe(0)
})
