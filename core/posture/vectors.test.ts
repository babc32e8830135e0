import { readFileSync } from 'node:fs'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import type { Observation } from '#core/evidence/observation.ts'
import { claimVocabulary } from '#core/trust/index.ts'
import {
  type CommandProbe,
  countAptSecurity,
  defaultRules,
  isFilteredByIptables,
  macosProbes,
  maxDetailChars,
  osqueryProbes,
  type PostureRules,
  parseNft,
  windowsProbes,
} from './index.ts'

const probeCase = z.strictObject({
  probe: z.string(),
  stdout: z.string().optional(),
  stderr: z.string().optional(),
  // YAML 1.2 keeps `on`, `off`, `yes` and `no` as texts.
  expect: z.record(z.string(), z.string()),
  /** System that an output of this form was published of. */
  seen: z.string().optional(),
})
const cases = z
  .strictObject({
    now: z.string(),
    probes: z.strictObject({
      windows: z.array(probeCase),
      macos: z.array(probeCase),
      osquery: z.array(probeCase),
    }),
    nft: z.array(z.strictObject({ file: z.string(), filters: z.array(z.string()) })),
    iptables: z.array(z.strictObject({ file: z.string(), isFiltered: z.boolean() })),
    apt: z.array(z.strictObject({ file: z.string(), securityUpdates: z.int() })),
  })
  .parse(parse(read('cases.yaml')))

const now = Date.parse(cases.now)
const rules: PostureRules = {
  ...defaultRules,
  edr: [{ name: 'Example Sensor', process: 'ExampleSensor*' }],
}
const probes: Readonly<Record<string, readonly (readonly [string, CommandProbe])[]>> = {
  windows: windowsProbes.map((probe) => [probe.name, probe]),
  macos: macosProbes.map((probe) => [probe.name, probe]),
  osquery: Object.entries(osqueryProbes).flatMap(([platform, some]) =>
    some.map((probe): [string, CommandProbe] => [`${platform} ${probe.name}`, probe]),
  ),
}

function read(path: string): string {
  return readFileSync(new URL(`../../vectors/posture/${path}`, import.meta.url), 'utf8')
}

function judge(probe: CommandProbe, stdout: string, stderr: string): readonly Observation[] {
  const observations = probe.judge({ status: 0, stdout, stderr }, { rules, now })
  for (const { claim, value, detail } of observations) {
    expect(probe.claims).toContain(claim)
    expect(claimVocabulary[claim].values).toContain(value)
    expect(detail.length).toBeLessThanOrEqual(maxDetailChars)
  }
  return observations
}

for (const [system, some] of Object.entries(cases.probes))
  for (const { probe: name, stdout, stderr, expect: expected } of some)
    test(`${system} ${name} judges ${stdout ?? stderr}`, () => {
      const probe = probes[system]!.find(([known]) => known === name)![1]
      const texts = [stdout, stderr].map((file) => (file === undefined ? '' : read(`${system}/${file}`)))
      const observations = judge(probe, texts[0]!, texts[1]!)
      expect(Object.fromEntries(observations.map(({ claim, value }) => [claim, value]))).toEqual(expected)
    })

test('every probe for Windows, macOS and osquery but the process lists of osquery has a vector', () => {
  const seen = Object.entries(cases.probes).flatMap(([system, some]) =>
    some.map(({ probe }) => `${system} ${probe}`),
  )
  const all = Object.entries(probes).flatMap(([system, some]) => some.map(([name]) => `${system} ${name}`))
  const unseen = all.filter((name) => !seen.includes(name))
  expect(unseen).toEqual(['osquery win32 osquery-edr', 'osquery darwin osquery-edr'])
})

test.each(['windows', 'macos'] as const)('every probe for %s is held to a form that was seen', (system) => {
  const seen = cases.probes[system].filter((one) => one.seen !== undefined).map(({ probe }) => probe)
  expect(probes[system]!.map(([name]) => name).filter((name) => !seen.includes(name))).toEqual([])
})

test.each(cases.nft)('nft: $file filters $filters', ({ file, filters }) => {
  const { ip4, ip6 } = parseNft(read(`linux/${file}`))!
  expect([...(ip4 ? ['ip4'] : []), ...(ip6 ? ['ip6'] : [])]).toEqual(filters)
})

test.each(cases.iptables)('iptables: $file', ({ file, isFiltered }) => {
  expect(isFilteredByIptables(read(`linux/${file}`))).toBe(isFiltered)
})

test.each(cases.apt)('apt: $file holds $securityUpdates security updates', ({ file, securityUpdates }) => {
  expect(countAptSecurity(read(`linux/${file}`))).toBe(securityUpdates)
})

test('any output is judged in the vocabulary, without an error', () => {
  const recorded = Object.entries(cases.probes).flatMap(([system, some]) =>
    some.flatMap(({ stdout, stderr }) =>
      [stdout, stderr].flatMap((file) => (file === undefined ? [] : [read(`${system}/${file}`)])),
    ),
  )
  const mutated = fc
    .tuple(fc.constantFrom(...recorded), fc.nat(), fc.nat(40), fc.string({ unit: 'binary' }))
    .map(([text, at, length, inserted]) => {
      const start = at % text.length
      return text.slice(0, start) + inserted + text.slice(start + length)
    })
  const output = fc.oneof(mutated, fc.json(), fc.string({ unit: 'binary' }))
  const all = Object.values(probes).flatMap((some) => some.map(([, probe]) => probe))
  fc.assert(
    fc.property(output, output, (stdout, stderr) => {
      for (const probe of all) judge(probe, stdout, stderr)
      parseNft(stdout)
      isFilteredByIptables(stdout)
      countAptSecurity(stdout)
    }),
    { numRuns: 100 },
  )
})
