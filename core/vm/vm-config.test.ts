import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseConfig } from '#core/config/parse-config.ts'
import {
  describeVm,
  qemuArguments,
  type VmConfig,
  type VmConnections,
  vmConfig,
  vmConfigFile,
} from './index.ts'

const written = (text: string): VmConfig => parseConfig(text, vmConfigFile, 'vm.yaml')

const connections: VmConnections = {
  accelerator: 'tcg',
  diskFd: 3,
  monitorFd: 4,
  displaySocket: 'display.sock',
  lockMemory: false,
}

test('what a person leaves out is said in what is signed', () => {
  const config = written('memoryMiB: 512')
  expect(config).toEqual({
    memoryMiB: 512,
    cpus: 1,
    machine: 'q35',
    firmware: 'bios',
    devices: { disk: 'virtio', pointer: 'tablet' },
    network: { kind: 'none' },
    display: { width: 1280, height: 800, keyboard: 'en-us', clipboard: false },
  })
  expect(vmConfig(config)).toEqual(config)
  expect(() => vmConfig({ memoryMiB: 512 })).toThrow('cpus: expected')
})

test.each([
  ['memoryMiB: 1', 'memoryMiB'],
  ['memoryMiB: 512\nmachine: virt', 'machine'],
  ['memoryMiB: 512\nshared: /home', 'shared'],
  ['memoryMiB: 512\nnetwork: {kind: bridge}', 'network'],
  ['memoryMiB: 512\nnetwork: {kind: user, model: virtio, allow: [{host: "a b", ports: [1]}]}', 'host'],
  ['memoryMiB: 512\nnetwork: {kind: user, model: virtio, allow: [{host: 10.0.0.256, ports: [1]}]}', 'host'],
  ['memoryMiB: 512\nnetwork: {kind: user, model: virtio, allow: [{host: "*", ports: [1]}]}', 'host'],
  ['memoryMiB: 512\nnetwork: {kind: user, model: virtio, allow: [{host: a.example, ports: [53]}]}', '53'],
  ['memoryMiB: 512\ndisplay: {keyboard: "de,x=y"}', 'keyboard'],
])('%s is refused', (text, about) => {
  expect(() => written(text)).toThrow(about)
})

test('the command line has what was signed, and nothing that it did not ask for', () => {
  const bare = qemuArguments(written('memoryMiB: 64'), connections).join(' ')
  expect(bare).toContain('-nodefaults -no-user-config -sandbox on,')
  expect(bare).toContain('spawn=deny')
  expect(bare).toContain('server.type=fd,server.str=3')
  expect(bare).toContain('-vnc unix:display.sock')
  expect(bare).toContain('-accel tcg -m 64M -smp 1')
  for (const word of ['-netdev', '-k', 'audio', 'filename=', 'agent', 'mem-lock'])
    expect(bare).not.toContain(word)
  const config = written(
    'memoryMiB: 64\nmachine: pc\nfirmware: uefi\ndevices: {disk: sata}\ndisplay: {clipboard: true, keyboard: de}\nnetwork: {kind: user, model: e1000e, allow: []}',
  )
  const uefi = { code: '/usr/share/a,b.fd', variables: 'vars.fd' }
  const full = qemuArguments(config, { ...connections, accelerator: 'kvm', uefi, lockMemory: true }).join(' ')
  expect(full).toContain('filename=/usr/share/a,,b.fd,read-only=on')
  expect(full).toContain('-accel kvm -cpu host')
  expect(full).toContain('ide-hd,drive=disk,bootindex=1,werror=stop,rerror=stop,bus=sata.0')
  expect(full).toContain('mem-lock=on')
  expect(full).toContain('-device e1000e,netdev=net')
  expect(full).toContain('-k de')
  expect(full).toContain('qemu-vdagent')
})

test('any text is a configuration of a VM or refused', () => {
  const words = fc.constantFrom(
    'memoryMiB',
    'network',
    'kind',
    'user',
    'none',
    'allow',
    'host',
    '512',
    '-1',
    'q35',
  )
  fc.assert(
    fc.property(fc.dictionary(words, fc.oneof(words, fc.integer(), fc.object({ maxDepth: 2 }))), (value) => {
      const { success, data } = vmConfigFile.safeParse(value)
      if (!success) return
      expect(vmConfig(data)).toEqual(data)
      expect(describeVm(data)).toHaveLength(4)
    }),
  )
})
