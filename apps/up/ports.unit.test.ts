import { expect, test } from 'vitest'
import { portsFrom } from './ports.ts'

test('ports follow one another', () => {
  expect(portsFrom(9443, 2)).toEqual({
    people: 9443,
    agents: 9444,
    gateways: [
      { people: 9445, agents: 9446 },
      { people: 9447, agents: 9448 },
    ],
  })
})

test.each([8443, 8444, 8445, 8446])('from %d on, that of the service of a device is left out', (first) => {
  const { people, agents, gateways } = portsFrom(first, 3)
  const all = [people, agents, ...gateways.flatMap((gateway) => [gateway.people, gateway.agents])]
  expect(all).toEqual(Array.from({ length: 9 }, (_, step) => first + step).filter((port) => port !== 8447))
})

test('a port that was asked for is taken', () => {
  expect(portsFrom(8447, 1)).toEqual({
    people: 8447,
    agents: 8448,
    gateways: [{ people: 8449, agents: 8450 }],
  })
})
