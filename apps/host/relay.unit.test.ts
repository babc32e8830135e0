import { randomUUID } from 'node:crypto'
import { duplexPair } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { createRelay } from './relay.ts'

test('a gateway that says another address again and again is dialled no more often than one that uses up its spares', async () => {
  const changes = 1000
  let dials = 0
  const relay = createRelay({
    dial: async () => {
      dials += 1
      return duplexPair()[0]
    },
    door: { admit: async () => false, close: () => undefined },
    log: pino({ level: 'silent' }),
  })
  const id = randomUUID()
  for (let port = 1; port <= changes; port++) {
    relay.desire([{ id, agentUrl: `https://gateway.example:${port}` }])
    await delay(2)
  }
  relay.close()
  expect(dials).toBeGreaterThan(0)
  expect(dials).toBeLessThan(changes)
})
