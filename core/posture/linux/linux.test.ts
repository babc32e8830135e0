import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { defaultLimits, type ProcessFacts } from '../index.ts'
import { judgeClamd, parseClamdConf, parseClamdVersion } from './clamd.ts'
import { judgeDebugger, parseProcessStatus } from './debuggers.ts'
import { dataMounts, isEncrypted, judgeDisks, parseMountInfo, parseSwaps } from './disks.ts'
import { hasGlobalIp6, judgeFirewall } from './firewall.ts'
import { judgeMachine, type MachineFacts } from './machine.ts'
import { judgeLocalAdmin, parseGroupNames, parseSessionIds, sittingPerson } from './people.ts'
import { gnomeLockOf, judgeScreenLock } from './screen-lock.ts'
import { judgeSecureBoot } from './secure-boot.ts'
import { countDnfSecurity, judgeUpdates, lastAptUpgrade, lastDpkgUpgrade, parseOsRelease } from './updates.ts'

const now = Date.parse('2026-11-21T12:00:00Z')
const ago = (days: number): number => now - days * 86_400_000

describe('updates', () => {
  const fresh = { system: 'Debian', checkedAt: ago(1), upgradedAt: ago(3), waiting: 0 }
  test.each([
    ['nothing waits', {}, 'current'],
    ['some wait, a while ago something was installed', { waiting: 2 }, 'current'],
    ['some wait for too long', { waiting: 2, upgradedAt: ago(15) }, 'overdue'],
    ['some always waited, whatever else was installed', { waiting: 2, waitingSince: ago(15) }, 'overdue'],
    [
      'the first waits after long quiet',
      { waiting: 1, upgradedAt: ago(40), noneWaitedBefore: true },
      'current',
    ],
    [
      'it waits for too long after long quiet',
      { waiting: 1, upgradedAt: ago(40), waitingSince: ago(15), noneWaitedBefore: true },
      'overdue',
    ],
    ['some wait and none was ever installed', { waiting: 2, upgradedAt: undefined }, 'overdue'],
    ['nobody looked', { checkedAt: ago(8) }, 'overdue'],
    ['it cannot be told', { waiting: undefined }, 'unknown'],
    ['its support has ended', { supportEndsAt: ago(1) }, 'overdue'],
  ])('%s', (_, facts, value) => {
    expect(judgeUpdates({ ...fresh, ...facts }, defaultLimits, now, 'apt').value).toBe(value)
  })

  test('the logs of apt and dpkg say when packages were last upgraded, not installed', () => {
    const history =
      'Start-Date: 2026-11-03  06:11:12\nCommandline: apt-get upgrade\nUpgrade: a:amd64 (1, 2)\nEnd-Date: 2026-11-03  06:11:20\n\n' +
      'Start-Date: 2026-11-10  08:00:00\nInstall: b:amd64 (1)\nEnd-Date: 2026-11-10  08:00:01\n'
    expect(lastAptUpgrade(history)).toBe(Date.parse('2026-11-03T06:11:12Z'))
    const log =
      '2026-11-04 01:02:03 upgrade a:amd64 1 2\n2026-11-05 01:02:03 status installed upgrade 2\n2026-11-06 01:02:03 install b:amd64 <none> 1\n'
    expect(lastDpkgUpgrade(log)).toBe(Date.parse('2026-11-04T01:02:03Z'))
  })

  test('os-release names the system and the end of its support', () => {
    const text = '# a comment\nPRETTY_NAME="Fedora Linux 41 (Workstation Edition)"\nSUPPORT_END=2025-12-15\n'
    expect(parseOsRelease(text)).toEqual({
      system: 'Fedora Linux 41 (Workstation Edition)',
      supportEndsAt: Date.parse('2025-12-15T23:59:59Z'),
    })
  })

  test('dnf lists security updates of both its generations', () => {
    const list =
      'FEDORA-2026-0123456789 Important/Sec. kernel-6.17.1-300.fc43.x86_64\nFEDORA-2026-1234567890 bugfix foo-1-1.x86_64\nFEDORA-2026-2 security Moderate bar-2-1.x86_64\n'
    expect(countDnfSecurity(list)).toBe(2)
  })
})

describe('clamd', () => {
  test('its answer names engine, signatures and their time', () => {
    expect(parseClamdVersion('ClamAV 1.4.3/27810/Mon Nov 10 09:46:29 2026')).toEqual({
      engine: '1.4.3',
      signatures: 27810,
      signedAt: Date.parse('2026-11-10T09:46:29Z'),
    })
    expect(parseClamdVersion('ClamAV 1.4.6')).toEqual({ engine: '1.4.6' })
    expect(parseClamdVersion('UNKNOWN COMMAND')).toBeUndefined()
  })

  test.each([
    [{ state: 'absent' }, 'off'],
    [{ state: 'silent', why: 'ENOENT' }, 'off'],
    [{ state: 'hangs', signaturesAt: ago(1) }, 'off'],
    [{ state: 'hangs', signaturesAt: undefined }, 'off'],
    [{ state: 'hangs', signaturesAt: now - 60_000 }, 'unknown'],
    [{ state: 'answers', version: undefined, signaturesAt: now }, 'unknown'],
    [{ state: 'answers', version: { engine: '1.4.6' }, signaturesAt: undefined }, 'unknown'],
    [{ state: 'answers', version: { engine: '1.4.6' }, signaturesAt: ago(2) }, 'on'],
    [{ state: 'answers', version: { engine: '1.4.6' }, signaturesAt: ago(8) }, 'outdated'],
    [
      { state: 'answers', version: { engine: '1', signatures: 1, signedAt: ago(8) }, signaturesAt: now },
      'outdated',
    ],
  ] as const)('%j is %s', (state, value) => {
    expect(judgeClamd(state, defaultLimits, now).value).toBe(value)
  })

  test('its configuration says where it listens', () => {
    const text = '# LocalSocket /no\nLocalSocket /run/clamav/clamd.ctl\nTCPSocket 3310\nUser clamav\n'
    expect(parseClamdConf(text)).toEqual({
      socket: '/run/clamav/clamd.ctl',
      signatures: '/var/lib/clamav',
      port: { host: '127.0.0.1', port: 3310 },
    })
    expect(parseClamdConf(`TCPSocket${' '.repeat(1_000_000)}\n  LocalSocket "/a b" \t\r\n`).socket).toBe(
      '/a b',
    )
    expect(parseClamdConf('TCPSocket 99999\n')).toEqual({ socket: undefined, signatures: '/var/lib/clamav' })
  })
})

describe('firewall', () => {
  const both = { ip4: true, ip6: true }
  const none = { ip4: false, ip6: false }
  test.each([
    [[both, none], true, 'on'],
    [[{ ip4: true, ip6: false }, none], false, 'on'],
    [[{ ip4: true, ip6: false }, none], true, 'off'],
    [
      [
        { ip4: true, ip6: false },
        { ip4: false, ip6: true },
      ],
      true,
      'on',
    ],
    [[none, none], false, 'off'],
    [[undefined, none], false, 'unknown'],
    [[undefined, both], true, 'on'],
  ] as const)('%j, with IPv6 %s: %s', (looks, hasIp6, value) => {
    expect(judgeFirewall(looks, hasIp6, 'nft').value).toBe(value)
  })

  test('an address of this link only is none that others reach', () => {
    expect(hasGlobalIp6('fe800000000000000000000000000001 02 40 20 80     eth0\n')).toBe(false)
    expect(hasGlobalIp6('00000000000000000000000000000001 01 80 00 80       lo\n')).toBe(false)
    expect(hasGlobalIp6('20010db8000000000000000000000001 02 40 00 80     eth0\n')).toBe(true)
  })
})

describe('disks', () => {
  const luks = { uuid: 'CRYPT-LUKS2-0123456789abcdef-root', slaves: [{ slaves: [] }] }
  const plain = { slaves: [] }
  test('LVM on LUKS is encrypted, verity and a mirror with a plain half are not', () => {
    expect(isEncrypted({ uuid: 'LVM-abc', slaves: [luks] })).toBe(true)
    expect(isEncrypted({ slaves: [luks, luks] })).toBe(true)
    expect(isEncrypted({ slaves: [luks, plain] })).toBe(false)
    expect(isEncrypted({ uuid: 'CRYPT-VERITY-0123-usr', slaves: [plain] })).toBe(false)
    expect(isEncrypted(plain)).toBe(false)
  })

  test.each([
    [[{ role: 'root', block: luks }], 'on'],
    [
      [
        { role: 'root', block: luks },
        { role: 'data', block: plain },
      ],
      'off',
    ],
    [
      [
        { role: 'root', block: luks },
        { role: 'swap', block: plain },
      ],
      'off',
    ],
    [
      [
        { role: 'root', block: luks },
        { role: 'data', block: undefined },
      ],
      'unknown',
    ],
    [[{ role: 'root', block: undefined }], 'unknown'],
    [[], 'unknown'],
  ] as const)('%j is %s', (volumes, value) => {
    expect(judgeDisks(volumes, 'disks').value).toBe(value)
  })

  test('mounts that hold data are those of disks that somebody writes to, each device once', () => {
    const text = [
      '21 26 0:20 / /proc rw,relatime - proc proc rw',
      '26 1 253:0 / / rw,relatime shared:1 - ext4 /dev/mapper/root rw',
      '30 26 8:1 / /boot/efi rw,relatime - vfat /dev/sda1 rw',
      '31 26 8:2 / /srv/my\\040data rw,relatime - xfs /dev/sda2 rw',
      '32 26 8:2 /sub /srv/again rw,relatime - xfs /dev/sda2 rw',
      '33 26 7:0 / /snap/x ro,relatime - squashfs /dev/loop0 ro',
      '34 26 8:3 / /home ro,nosuid,relatime master:9 - ext4 /dev/sda3 rw,errors=remount-ro',
      '35 26 8:4 / /mnt/dvd rw,relatime - ext4 /dev/sda4 ro',
      'nonsense',
    ].join('\n')
    const held = dataMounts(parseMountInfo(text))
    expect(held.map(({ device }) => device)).toEqual(['253:0', '8:2', '8:3'])
    expect(parseMountInfo(text)[3]!.mountPoint).toBe('/srv/my data')
  })

  test('swap in memory is none on a disk', () => {
    const text =
      'Filename\tType\tSize\n/dev/dm-1 partition 1\n/dev/zram0 partition 1\n/swap\\040file file 1\n'
    expect(parseSwaps(text)).toEqual([
      { path: '/dev/dm-1', isFile: false },
      { path: '/swap file', isFile: true },
    ])
  })
})

test.each([
  [{ isUefi: false }, 'off'],
  [{ isUefi: true }, 'off'],
  [{ isUefi: true, hasVariables: false }, 'unknown'],
  [{ isUefi: true, secureBoot: 1 }, 'on'],
  [{ isUefi: true, secureBoot: 0 }, 'off'],
  [{ isUefi: true, secureBoot: 7 }, 'unknown'],
  [{ isUefi: true, secureBoot: 1, setupMode: 1 }, 'off'],
  [{ isUefi: true, secureBoot: 1, setupMode: 0, mokSbState: 1 }, 'off'],
  [{ isUefi: true, secureBoot: 1, setupMode: 0, mokSbState: 0 }, 'on'],
] as {
  isUefi: boolean
  hasVariables?: boolean
  secureBoot?: number
  setupMode?: number
  mokSbState?: number
}[][])('Secure Boot of %j', (...[facts, value]: unknown[]) => {
  const { isUefi, hasVariables = true, ...flags } = facts as Record<string, number | boolean>
  const variable = (name: string): Uint8Array | undefined =>
    flags[name] === undefined ? undefined : Uint8Array.of(6, 0, 0, 0, Number(flags[name]))
  const firmware = {
    isUefi: isUefi === true,
    hasVariables: hasVariables === true,
    secureBoot: variable('secureBoot'),
    setupMode: variable('setupMode'),
    mokSbState: variable('mokSbState'),
  }
  expect(judgeSecureBoot(firmware).value).toBe(value)
})

describe('machine', () => {
  const hardware: MachineFacts = {
    manager: undefined,
    hasPodmanFile: false,
    hasDockerFile: false,
    groups: '0::/init.scope\n',
    kernel: '6.1.0-40-amd64\n',
    dmi: ['LENOVO\n', '21CBCTO1WW\n'],
    hypervisor: undefined,
    cpuInfo: 'processor\t: 0\nflags\t\t: fpu vme svm\n',
    deviceTree: undefined,
  }
  const [qemu, microsoft] = [
    ['QEMU', 'Standard PC (Q35 + ICH9, 2009)'],
    ['Microsoft Corporation', 'Virtual Machine'],
  ]
  test.each([
    ['hardware', {}, 'physical', 'no sign of a hypervisor or container'],
    ['a firmware that names QEMU', { dmi: qemu }, 'vm', 'virtual machine (QEMU)'],
    ['a firmware that names Hyper-V', { dmi: microsoft }, 'vm', 'virtual machine (Hyper-V)'],
    ['a processor that says so', { cpuInfo: 'flags\t: fpu hypervisor\n' }, 'vm', 'virtual machine (unnamed)'],
    ['Xen', { hypervisor: 'xen\n' }, 'vm', 'virtual machine (xen)'],
    ['podman', { manager: 'podman' }, 'container', 'container (podman)'],
    [
      'podman in QEMU',
      { manager: 'podman', dmi: qemu },
      'container',
      'container (podman) in a virtual machine (QEMU)',
    ],
    ['docker by its groups', { groups: '0::/docker/0123456789\n' }, 'container', 'container (docker)'],
    ['WSL', { kernel: '5.15.167.4-microsoft-standard-WSL2\n' }, 'container', 'container (WSL)'],
    ['nothing to read', { cpuInfo: undefined }, 'unknown', /^the processor does not say/],
  ])('%s', (_, facts, value, detail) => {
    const seen = judgeMachine({ ...hardware, ...facts })
    expect(seen.value).toBe(value)
    expect(seen.detail).toMatch(detail)
  })
})

describe('people', () => {
  test.each([
    [[], 'unknown'],
    [[{ uid: 1000, groups: ['anna', 'audio'] }], 'no'],
    [[{ uid: 1000, groups: ['anna', 'sudo'] }], 'yes'],
    [[{ uid: 1000, groups: ['domain users', 'print admin'] }], 'no'],
    [[{ uid: 1000, groups: ['anna', 'libvirt'] }], 'yes'],
    [[{ uid: 1000, groups: [] }], 'unknown'],
    [[{ uid: 0, groups: ['root'] }], 'yes'],
    [
      [
        { uid: 1000, groups: ['anna'] },
        { uid: 1001, groups: ['docker'] },
      ],
      'yes',
    ],
  ] as const)('%j: administrator %s', (accounts, value) => {
    expect(judgeLocalAdmin(accounts).value).toBe(value)
  })

  test('who sits here is of the class user and not remote', () => {
    const session = 'Id=2\nUser=1000\nRemote=no\nClass=user\nType=wayland\nState=active\n'
    expect(sittingPerson(session)).toBe(1000)
    expect(sittingPerson(session.replace('Remote=no', 'Remote=yes'))).toBeUndefined()
    expect(sittingPerson(session.replace('Class=user', 'Class=greeter'))).toBeUndefined()
    expect(parseSessionIds('      2 1000 anna seat0 tty2\n     c1  114 gdm  seat0 tty1\n')).toEqual([
      '2',
      'c1',
    ])
    expect(parseGroupNames('anna\0print admin\0')).toEqual(['anna', 'print admin'])
  })

  test.each([
    [{ isLocking: 'true', isForbidden: 'false', idleSec: 'uint32 300', delaySec: 'uint32 0' }, 'on'],
    [{ isLocking: 'false', isForbidden: 'false', idleSec: 'uint32 300', delaySec: 'uint32 0' }, 'off'],
    [{ isLocking: 'true', isForbidden: 'true', idleSec: 'uint32 300', delaySec: 'uint32 0' }, 'off'],
    [{ isLocking: 'true', isForbidden: 'false', idleSec: 'uint32 0', delaySec: 'uint32 0' }, 'off'],
    [{ isLocking: 'true', isForbidden: 'false', idleSec: 'uint32 900', delaySec: 'uint32 60' }, 'off'],
    [{ isLocking: '', isForbidden: '', idleSec: '', delaySec: '' }, 'unknown'],
  ])('GNOME %j locks: %s', (values, value) => {
    expect(judgeScreenLock([{ lockers: [], gnome: gnomeLockOf(values) }], 900).value).toBe(value)
  })

  test('the worst desktop counts, and a locker of another desktop is enough', () => {
    const locked = { lockers: ['xss-lock'], gnome: undefined }
    expect(judgeScreenLock([locked], 900).value).toBe('on')
    expect(judgeScreenLock([locked, { lockers: [], gnome: undefined }], 900).value).toBe('unknown')
    expect(judgeScreenLock([], 900).value).toBe('unknown')
    const gnome = { isLocking: false, isForbidden: false, idleSec: 300, delaySec: 0 }
    expect(judgeScreenLock([{ lockers: ['xss-lock'], gnome }], 900).value).toBe('off')
  })
})

describe('debuggers', () => {
  const own: ProcessFacts = { pid: 10, parent: 1, name: 'node', executable: '/usr/bin/node', tracer: 0 }
  const gdb: ProcessFacts = { pid: 11, parent: 1, name: 'gdb', executable: '/usr/bin/gdb', tracer: 0 }
  test.each([
    [{ ours: [own], all: [own], hasInspector: false }, 'absent'],
    [{ ours: [{ ...own, tracer: 11 }], all: [own, gdb], hasInspector: false }, 'attached'],
    [{ ours: [own], all: [own, gdb], hasInspector: false }, 'unknown'],
    [{ ours: [own], all: [own], hasInspector: true }, 'attached'],
    [{ ours: [], all: [], hasInspector: false }, 'unknown'],
  ])('%j: %s', (facts, value) => {
    expect(judgeDebugger(facts).value).toBe(value)
  })

  test('the kernel says who traces a process', () => {
    const text = 'Name:\tnode\nState:\tS\nPid:\t10\nPPid:\t1\nTracerPid:\t11\nUid:\t0\t1000\t0\t0\n'
    expect(parseProcessStatus(text)).toEqual({ name: 'node', parent: 1, tracer: 11, uid: 1000 })
    expect(parseProcessStatus('Name:\tnode\n')).toBeUndefined()
  })
})

test('no text breaks a parser', () => {
  const line = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom('Start-Date: ', 'Upgrade: ', '26 1 254:0 / / rw - ext4 /dev/vda rw', 'Name:\t', 'A="'),
  )
  fc.assert(
    fc.property(
      fc.array(line, { maxLength: 20 }).map((lines) => lines.join('\n')),
      (text) => {
        for (const parser of [
          lastAptUpgrade,
          lastDpkgUpgrade,
          parseOsRelease,
          countDnfSecurity,
          parseClamdVersion,
          parseClamdConf,
          parseMountInfo,
          parseSwaps,
          hasGlobalIp6,
          parseProcessStatus,
          parseSessionIds,
          sittingPerson,
          parseGroupNames,
        ])
          parser(text)
        gnomeLockOf({ isLocking: text, isForbidden: text, idleSec: text, delaySec: text })
      },
    ),
    { numRuns: 200 },
  )
})
