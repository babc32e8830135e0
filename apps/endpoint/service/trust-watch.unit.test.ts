import { expect, test } from 'vitest'
import type { DesktopNotice } from '#adapters/notify-desktop/index.ts'
import type { Verdict } from '#core/agent/endpoint-messages.ts'
import type { ClaimName } from '#core/trust/index.ts'
import { trustWatch } from './trust-watch.ts'

function verdict(value: string, remedy?: string): Verdict {
  return about('endpoint.antivirus', 'Antivirus', value, remedy)
}

function about(name: ClaimName, label: string, value: string, remedy?: string): Verdict {
  const claim = { name, label, value, source: 'self', ageSec: 0, worth: '' } as const
  return { kind: 'verdict', claims: [{ ...claim, ...(remedy !== undefined && { remedy }) }] }
}

test('a person is told once when something goes bad, with the remedy, and once when it is mended', () => {
  const told: DesktopNotice[] = []
  const watch = trustWatch((notice) => told.push(notice))
  watch(verdict('on'))
  watch(verdict('unknown'))
  expect(told).toEqual([])
  watch(verdict('off', 'Start the antivirus'))
  watch(verdict('off', 'Start the antivirus'))
  expect(told).toEqual([
    {
      title: 'Trust in this device has fallen',
      body: 'Antivirus: off. Start the antivirus.',
      isCritical: true,
    },
  ])
  watch(verdict('on'))
  watch(verdict('on'))
  expect(told.map(({ title }) => title)).toEqual([
    'Trust in this device has fallen',
    'This device is trusted again',
  ])
})

test('what is bad from the start has not fallen', () => {
  const told: DesktopNotice[] = []
  const watch = trustWatch((notice) => told.push(notice))
  watch(verdict('off'))
  expect(told).toEqual([
    { title: 'This device could be trusted more', body: 'Antivirus: off.', isCritical: false },
  ])
})

test('a network that tampers is told, and one without a VPN is none of that', () => {
  const told: DesktopNotice[] = []
  const watch = trustWatch((notice) => told.push(notice))
  watch(about('network.integrity', 'Signs of tampering on the network', 'clean'))
  watch(about('network.vpn', 'VPN', 'no', 'Connect to the VPN'))
  expect(told).toEqual([])
  watch(about('network.integrity', 'Signs of tampering on the network', 'suspicious', 'Use another network'))
  expect(told.map(({ body }) => body)).toEqual([
    'Signs of tampering on the network: suspicious. Use another network.',
  ])
})
