import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { logOf, measured, variable } from './event-log.fixture.ts'
import {
  type Boot,
  bootDifference,
  bootOf,
  commandLinesIn,
  decodeEventLog,
  isSameBoot,
  replay,
  requireMatch,
  secureBootOf,
  TpmError,
} from './index.ts'
import { type RecordedBoot, recordedBoot } from './swtpm.fixture.ts'

const names: readonly RecordedBoot[] = ['secure', 'command-line', 'insecure']

function bootFrom(name: RecordedBoot): Boot {
  const { log, pcrs } = recordedBoot(name)
  const events = decodeEventLog(log)
  requireMatch(events, pcrs)
  return bootOf(pcrs, events)
}

test.for(names)('the log of a real boot (%s) leads to what its TPM holds', (name) => {
  const { log, pcrs } = recordedBoot(name)
  const values = replay(decodeEventLog(log))
  for (const [pcr, value] of pcrs)
    expect(Buffer.from(values.get(pcr) ?? Buffer.alloc(32))).toEqual(Buffer.from(value))
})

test('Secure Boot is what the firmware measured', () => {
  expect(names.map((name) => secureBootOf(decodeEventLog(recordedBoot(name).log)))).toEqual([
    'on',
    'on',
    'off',
  ])
})

test('a name that ends in zeros is known without them, and one that is full of them takes no longer', () => {
  const on = Buffer.from([1])
  const secureBoot = (...names: string[]): string => {
    const events = names.map((name) => measured(7, 0x8000_0001, variable(name, on)))
    return secureBootOf(decodeEventLog(logOf([...events, measured(7, 4, Buffer.alloc(4))])))
  }
  expect(secureBoot('SecureBoot\0')).toBe('on')
  expect(secureBoot(`${'\0'.repeat(250_000)}x`, 'SecureBoot')).toBe('on')
})

test('the parts of a boot are named', () => {
  const parts = (bootFrom('secure').components ?? []).map(({ part, name }) => `${part}: ${name}`)
  for (const expected of [
    'firmware: firmware',
    'Secure Boot keys: PK',
    'Secure Boot keys: KEK',
    'Secure Boot keys: db',
    'Secure Boot keys: dbx',
    'boot loader: \\EFI\\BOOT\\BOOTX64.EFI',
    'boot loader: \\EFI\\BOOT\\grubx64.efi',
    'kernel: /vmlinuz-6.1',
    'initrd: /initrd.img',
    'command line: kernel',
    "owner's keys: MokList",
  ])
    expect(parts).toContain(expected)
})

test('what the kernel was started with is told whole', () => {
  expect(names.map((name) => commandLinesIn(decodeEventLog(recordedBoot(name).log)))).toEqual([
    ['kernel_cmdline: /vmlinuz-6.1 console=ttyS0 quiet'],
    ['kernel_cmdline: /vmlinuz-6.1 console=ttyS0 quiet init_on_alloc=0'],
    // Started by the firmware itself: its log names the command line and does not hold it.
    [],
  ])
})

test('what differs between two boots is said', () => {
  const [secure, other, insecure] = [bootFrom('secure'), bootFrom('command-line'), bootFrom('insecure')]
  expect(isSameBoot(secure, bootFrom('secure'))).toBe(true)
  expect(bootDifference(secure, secure)).toEqual([])
  expect(isSameBoot(secure, other)).toBe(false)
  expect(bootDifference(secure, other)).toEqual([
    'boot loader changed (commands)',
    'boot loader changed ((hd0,msdos1)/EFI/debian/grub.cfg)',
    'command line changed (kernel)',
  ])
  expect(bootDifference(secure, insecure)).toContain('Secure Boot was on and is off')
})

test('without a log the PCRs still say that a boot is another one, and roughly which part', () => {
  const [secure, other] = [recordedBoot('secure'), recordedBoot('command-line')]
  expect(bootDifference(bootOf(secure.pcrs, undefined), bootOf(other.pcrs, undefined))).toEqual([
    'command line changed (PCR 8)',
    'kernel changed (PCR 9)',
  ])
})

test('a quote that leaves out what a boot is known by says nothing about it', () => {
  const { pcrs } = recordedBoot('secure')
  for (const pcr of [0, 7, 9]) {
    const others = new Map([...pcrs].filter(([each]) => each !== pcr))
    expect(() => bootOf(others, undefined)).toThrow(expect.objectContaining({ code: 'TPM_QUOTE_WRONG_PCRS' }))
  }
})

test('a log of another boot does not match', () => {
  const log = decodeEventLog(recordedBoot('insecure').log)
  expect(() => requireMatch(log, recordedBoot('secure').pcrs)).toThrow(
    expect.objectContaining({ code: 'TPM_LOG_MISMATCH' }),
  )
})

test('a log in which only the word about Secure Boot was changed matches, and says nothing about it any more', () => {
  const { log, pcrs } = recordedBoot('insecure')
  const changed = Buffer.from(log)
  const name = Buffer.from('SecureBoot', 'utf16le')
  const at = changed.indexOf(name) + name.length
  expect(changed[at]).toBe(0)
  changed[at] = 1
  const events = decodeEventLog(changed)
  requireMatch(events, pcrs)
  expect(secureBootOf(events)).toBe('unknown')
  expect(isSameBoot(bootFrom('secure'), bootOf(pcrs, events))).toBe(false)
})

test('cut, changed and arbitrary logs are refused with a code, or are the log of no other machine', () => {
  const { log, pcrs } = recordedBoot('secure')
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ maxLength: 400 }).map((value) => Buffer.from(value)),
        fc.nat(log.length - 1).map((length) => log.subarray(0, length)),
        fc.tuple(fc.nat(log.length - 1), fc.integer({ min: 1, max: 255 })).map(([at, change]) => {
          const changed = Buffer.from(log)
          changed[at] = (changed[at] ?? 0) ^ change
          return changed
        }),
      ),
      (bytes) => {
        try {
          const events = decodeEventLog(bytes)
          requireMatch(events, pcrs)
          expect(['on', 'unknown']).toContain(secureBootOf(events))
          expect(bootDifference(bootFrom('secure'), bootOf(pcrs, events))).toEqual([])
        } catch (error) {
          expect(error).toBeInstanceOf(TpmError)
        }
      },
    ),
  )
})
