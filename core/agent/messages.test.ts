import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { gatewayToSite, hostToSite } from './messages.ts'

const hello = (publicUrl: string): unknown => ({
  kind: 'hello',
  publicUrl,
  agentUrl: 'https://gateway.example:8446',
  version: '1',
})

test.each([
  'https://gateway.example:8445',
  'https://localhost',
  'https://192.0.2.7:1',
  'https://[2001:db8::7]:8445',
])('a gateway may say that people reach it at %s', (publicUrl) => {
  expect(gatewayToSite.safeParse(hello(publicUrl)).success).toBe(true)
})

test.each([
  "https://gateway.example;script-src-elem 'unsafe-inline'",
  'https://gateway.example/; script-src *',
  'https://gateway.example https://*',
  'https://gateway.example\r\nset-cookie: a=b',
  'https://gateway.example\n',
  'https://someone@gateway.example',
  'https://*',
  'http://gateway.example',
  'gateway.example',
  '',
])('a gateway cannot write into the headers of the site: %j', (publicUrl) => {
  expect(gatewayToSite.safeParse(hello(publicUrl)).success).toBe(false)
})

test('what agents say is refused unless every field is known', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      expect(hostToSite.safeParse(value).success).toBe(false)
      expect(gatewayToSite.safeParse(value).success).toBe(false)
    }),
  )
})
