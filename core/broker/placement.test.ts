import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { type HostLoad, rankHosts } from './placement.ts'

const idle: HostLoad = {
  id: 'a',
  placed: 0,
  capacity: 10,
  cpuPercent: 0,
  memoryFreeMiB: 4096,
  draining: false,
}

test('the host with the fewest sessions for its size comes first', () => {
  const hosts = [
    { ...idle, id: 'half', placed: 5 },
    { ...idle, id: 'empty' },
    { ...idle, id: 'big', placed: 6, capacity: 100 },
  ]
  expect(rankHosts(hosts, () => 0)).toEqual(['empty', 'big', 'half'])
})

test('a busy processor weighs as much as taken places', () => {
  expect(
    rankHosts(
      [
        { ...idle, cpuPercent: 100 },
        { ...idle, id: 'b', placed: 5 },
      ],
      () => 0,
    ),
  ).toEqual(['b', 'a'])
})

test('a full, draining or memory-starved host is never named', () => {
  const hosts = [
    { ...idle, placed: 10 },
    { ...idle, draining: true },
    { ...idle, memoryFreeMiB: 10 },
  ]
  expect(rankHosts(hosts, () => 0)).toEqual([])
})

test('equal hosts are chosen by chance', () => {
  const hosts = [idle, { ...idle, id: 'b' }]
  const values = [0.9, 0.1]
  expect(rankHosts(hosts, () => values.shift() ?? 0)[0]).toBe('b')
})

test('every host with a place is named exactly once', () => {
  const host = fc.record({
    id: fc.uuid(),
    placed: fc.nat(20),
    capacity: fc.nat(20),
    cpuPercent: fc.float({ noNaN: true }),
    memoryFreeMiB: fc.nat(),
    draining: fc.boolean(),
  })
  fc.assert(
    fc.property(fc.uniqueArray(host, { selector: (h) => h.id }), (hosts) => {
      const ranked = rankHosts(hosts, Math.random)
      expect(new Set(ranked).size).toBe(ranked.length)
    }),
  )
})
