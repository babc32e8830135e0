import { expect, test } from 'vitest'
import { canVirtualize, groupsToOpen } from './start-qemu.ts'

test.each([
  ['an Intel processor', 'flags\t\t: fpu vme vmx ssse3', true],
  ['an AMD processor', 'processor\t: 0\nflags\t\t: fpu lahf_lm svm', true],
  ['a processor whose virtualization is for the hypervisor alone', 'flags\t\t: fpu vme hypervisor', false],
  ['words that only look like it', 'model name\t: svm vmx\nflags\t\t: svm_lock vmxnet', false],
])('KVM is used on %s: %#', (_, cpuinfo, isUsed) => {
  expect(canVirtualize(`${cpuinfo}\nbugs\t\t: spectre_v1\n`)).toBe(isUsed)
})

test.each([
  [0o660, 36, '--groups 36'],
  [0o666, 36, '--clear-groups'],
  [0o666, 0, '--clear-groups'],
  [0o660, 0, undefined],
  [0o640, 36, undefined],
  [0o600, 36, undefined],
])('of a device of mode %o and group %i an account without rights needs %s', (mode, gid, groups) => {
  expect(groupsToOpen({ mode: 0o020_000 | mode, gid })).toBe(groups)
})
