import {
  bool,
  kinds,
  list,
  object,
  oneOf,
  type Shape,
  type Shaped,
  text,
  where,
  whole,
} from '#core/json/index.ts'

/**
 * What a local VM is: part of the image manifest that people sign, so that no VM starts from a configuration that
 * nobody has signed (I1). Everything is said, nothing is a default of whoever starts it.
 */

const hostName = where(
  text(
    /^(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/,
    'a host name in lower-case letters, or an IPv4 address',
  ),
  // What looks like an address is one.
  (name) => isIpv4(name) || !/(^|\.)\d+$/.test(name),
  'a host name, or an IPv4 address',
)

/** Dotted decimal, of four numbers without leading zeros. */
export function isIpv4(text: string): boolean {
  const parts = text.split('.')
  return parts.length === 4 && parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255)
}

const port = where(
  whole(1, 65_535),
  (number) => number !== 53,
  'another port than 53, which is taken by the name server of the VM',
)

const network = kinds({
  /** No network device at all. */
  none: object({ kind: oneOf('none') }),
  /** The guest reaches what is listed, by TCP, and nothing else; 53 is its own name server. */
  user: object({
    kind: oneOf('user'),
    model: oneOf('virtio', 'e1000e'),
    allow: list(object({ host: hostName, ports: list(port, 1, 20) }), 0, 100),
  }),
})

const parts = {
  memoryMiB: whole(16, 1_048_576),
  cpus: whole(1, 64),
  machine: oneOf('q35', 'pc'),
  firmware: oneOf('bios', 'uefi'),
  network,
}

const devices = {
  disk: oneOf('virtio', 'sata'),
  /** `tablet`: absolute positions, which viewers need; `mouse` for guests that know no tablet. */
  pointer: oneOf('tablet', 'mouse'),
}

const display = {
  /** What the screen begins with; the guest may change it. */
  width: whole(320, 7680),
  height: whole(200, 4320),
  /** A keyboard layout of QEMU, for viewers that send characters. */
  keyboard: text(/^[a-z]{2}(-[a-z]{2})?$/, 'a keyboard layout such as en-us or de'),
  /** Text can be exchanged with an agent in the guest, as far as the decision permits it. */
  clipboard: bool,
}

export const vmConfig = object({ ...parts, devices: object(devices), display: object(display) })
export type VmConfig = Shaped<typeof vmConfig>
export type VmNetwork = VmConfig['network']

/** The same as a person writes it: what is not said is as usual. */
export const writtenVmConfig: Shape<VmConfig> = object({
  memoryMiB: parts.memoryMiB,
  cpus: unlessSaid(1, parts.cpus),
  machine: unlessSaid('q35', parts.machine),
  firmware: unlessSaid('bios', parts.firmware),
  devices: unlessSaid(
    {},
    object({ disk: unlessSaid('virtio', devices.disk), pointer: unlessSaid('tablet', devices.pointer) }),
  ),
  network: unlessSaid({ kind: 'none' }, network),
  display: unlessSaid(
    {},
    object({
      width: unlessSaid(1280, display.width),
      height: unlessSaid(800, display.height),
      keyboard: unlessSaid('en-us', display.keyboard),
      clipboard: unlessSaid(false, display.clipboard),
    }),
  ),
})

function unlessSaid<T>(usual: unknown, shape: Shape<T>): Shape<T> {
  return (value) => shape(value === undefined ? usual : value)
}

/** What a VM is, in lines for people: a heading and what stands under it. */
export function describeVm(config: VmConfig): readonly (readonly [string, string])[] {
  const { memoryMiB, cpus, machine, firmware, devices, network, display } = config
  return [
    [
      'machine',
      `${machine} with ${firmware === 'uefi' ? 'UEFI' : 'BIOS'}, ${cpus === 1 ? '1 CPU' : `${cpus} CPUs`}, ${memoryMiB} MiB`,
    ],
    ['devices', `${devices.disk} disk, ${devices.pointer}, no sound`],
    ['network', describeNetwork(network)],
    [
      'display',
      `${display.width}x${display.height}, keyboard ${display.keyboard}, ${display.clipboard ? 'with' : 'without'} clipboard`,
    ],
  ]
}

function describeNetwork(network: VmNetwork): string {
  if (network.kind === 'none') return 'none'
  const list = network.allow.map(({ host, ports }) => `${host}:${ports.join(',')}`)
  return `${network.model}, reaches ${list.join(' ') || 'nothing'}`
}
