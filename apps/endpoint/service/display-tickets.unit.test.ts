import { expect, test } from 'vitest'
import { DisplayTickets } from './display-tickets.ts'

const nora = { uid: 1000 }
const refused = expect.objectContaining({ code: 'SERVICE_TICKET_REFUSED' })

test('a ticket opens the screen that it was given out for, once', () => {
  const tickets = new DisplayTickets(() => 0)
  const ticket = tickets.issue('one', nora)
  expect(ticket).toMatch(/^[\w-]{43}$/)
  expect(tickets.issue('one', nora)).not.toBe(ticket)
  expect(tickets.redeem(ticket, nora)).toBe('one')
  expect(() => tickets.redeem(ticket, nora)).toThrow(refused)
})

test('another account, root too, opens nothing with it, and spends it', () => {
  const tickets = new DisplayTickets(() => 0)
  for (const uid of [0, 1001]) {
    const ticket = tickets.issue('one', nora)
    expect(() => tickets.redeem(ticket, { uid })).toThrow(refused)
    expect(() => tickets.redeem(ticket, nora)).toThrow(refused)
  }
  expect(() => tickets.redeem('', nora)).toThrow(refused)
})

test('it is good for half a minute, and the oldest give way to those who ask without end', () => {
  let nowMs = 0
  const tickets = new DisplayTickets(() => nowMs)
  const [late, intime] = [tickets.issue('one', nora), tickets.issue('one', nora)]
  nowMs = 29_999
  expect(tickets.redeem(intime, nora)).toBe('one')
  nowMs = 30_000
  expect(() => tickets.redeem(late, nora)).toThrow(refused)
  const first = tickets.issue('one', nora)
  const many = Array.from({ length: 64 }, () => tickets.issue('two', nora))
  expect(() => tickets.redeem(first, nora)).toThrow(refused)
  expect(tickets.redeem(many[0] ?? '', nora)).toBe('two')
})
