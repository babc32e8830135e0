import type { VmConfig } from './vm-config.ts'

/** What a VM is connected to, besides what its signed configuration says. */
export interface VmConnections {
  readonly accelerator: 'kvm' | 'tcg'
  /** Descriptors that QEMU inherits: an NBD client's end of a connection, and a monitor's. */
  readonly diskFd: number
  readonly monitorFd: number
  /** Where it listens for viewers, relative to its working folder. */
  readonly displaySocket: string
  /** Needed for `uefi`: read-only code, and variables that it may write. */
  readonly uefi?: { readonly code: string; readonly variables: string } | undefined
  /** Keeps the memory of the guest from being swapped to a disk of this machine. */
  readonly lockMemory: boolean
}

/** An option and its value, if it has one. */
type Option = readonly [name: string] | readonly [name: string, value: string]

/**
 * The words of QEMU's command line, its own name not among them.
 *
 * INVARIANT I1: what the guest can see is what the signed configuration says. There are no default devices, no files
 * of this machine but the firmware, and the process may start no other, nor become another user.
 */
export function qemuArguments(config: VmConfig, to: VmConnections): readonly string[] {
  const options: readonly Option[] = [
    ['-name', 'guest=trustcast,process=trustcast-vm'],
    ['-nodefaults'],
    ['-no-user-config'],
    ['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    ...machineOptions(config, to),
    ...diskOptions(config, to),
    ['-chardev', `socket,id=monitor,fd=${to.monitorFd}`],
    ['-mon', 'chardev=monitor,mode=control'],
    ...networkOptions(config),
    ...displayOptions(config, to),
  ]
  return options.flat()
}

function machineOptions(
  { machine, memoryMiB, cpus, firmware }: VmConfig,
  { accelerator, uefi, lockMemory }: VmConnections,
): readonly Option[] {
  const flash = firmware === 'uefi' ? ',pflash0=code,pflash1=variables' : ''
  return [
    ...(firmware === 'uefi' ? firmwareOptions(uefi) : []),
    ['-machine', `${machine},vmport=off,usb=off,dump-guest-core=off${flash}`],
    ['-accel', accelerator],
    ...(accelerator === 'kvm' ? [['-cpu', 'host'] as const] : []),
    ['-m', `${memoryMiB}M`],
    ['-smp', String(cpus)],
    ...(lockMemory ? [['-overcommit', 'mem-lock=on'] as const] : []),
    // Time and randomness that a guest cannot do without.
    ['-rtc', 'base=utc'],
    ['-object', 'rng-builtin,id=random'],
    ['-device', 'virtio-rng-pci,rng=random'],
  ]
}

function firmwareOptions(uefi: VmConnections['uefi']): readonly Option[] {
  if (uefi === undefined) throw new TypeError('a VM with UEFI needs the files of its firmware')
  const { code, variables } = uefi
  return [
    ['-blockdev', blockdev({ driver: 'file', 'node-name': 'code', filename: code, 'read-only': 'on' })],
    ['-blockdev', blockdev({ driver: 'file', 'node-name': 'variables', filename: variables })],
  ]
}

/** Errors pause the guest instead of reaching it: it goes on when the disk does. */
function diskOptions({ devices, machine }: VmConfig, { diskFd }: VmConnections): readonly Option[] {
  const server = { 'server.type': 'fd', 'server.str': String(diskFd) }
  const shared = 'drive=disk,bootindex=1,werror=stop,rerror=stop'
  const disk: Option = [
    '-blockdev',
    blockdev({ driver: 'nbd', 'node-name': 'disk', ...server, export: '', discard: 'unmap' }),
  ]
  if (devices.disk === 'virtio') return [disk, ['-device', `virtio-blk-pci,${shared},discard=on`]]
  // The older machine has no controller of this kind.
  if (machine === 'q35') return [disk, ['-device', `ide-hd,${shared},bus=ide.0`]]
  return [disk, ['-device', 'ahci,id=sata'], ['-device', `ide-hd,${shared},bus=sata.0`]]
}

/** What it may reach is not QEMU's to decide: its process is in a network of its own (`adapters/vm-qemu`). */
function networkOptions({ network }: VmConfig): readonly Option[] {
  if (network.kind === 'none') return []
  const model = network.model === 'virtio' ? 'virtio-net-pci' : 'e1000e'
  return [
    ['-netdev', 'user,id=net,ipv6=off'],
    ['-device', `${model},netdev=net,romfile=`],
  ]
}

function displayOptions({ display, devices }: VmConfig, { displaySocket }: VmConnections): readonly Option[] {
  const { width, height, keyboard, clipboard } = display
  return [
    ['-device', `VGA,edid=on,xres=${width},yres=${height}`],
    ['-display', 'none'],
    ['-vnc', `unix:${escaped(displaySocket)}`],
    // With a layout QEMU no longer takes keys by their place, which most viewers send.
    ...(keyboard === 'en-us' ? [] : [['-k', keyboard] as const]),
    ...(devices.pointer === 'tablet' ? tablet : []),
    ...(clipboard ? clipboardAgent : []),
  ]
}

const tablet: readonly Option[] = [
  ['-device', 'qemu-xhci'],
  ['-device', 'usb-tablet'],
]

const clipboardAgent: readonly Option[] = [
  ['-chardev', 'qemu-vdagent,id=agent,name=vdagent,clipboard=on'],
  ['-device', 'virtio-serial-pci'],
  ['-device', 'virtserialport,chardev=agent,name=com.redhat.spice.0'],
]

function blockdev(options: Readonly<Record<string, string>>): string {
  return Object.entries(options)
    .map(([name, value]) => `${name}=${escaped(value)}`)
    .join(',')
}

/** A comma ends a value unless there are two. */
function escaped(value: string): string {
  return value.replaceAll(',', ',,')
}
