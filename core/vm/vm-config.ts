import { z } from 'zod'

/**
 * What a local VM is: part of the image manifest that people sign, so that no VM starts from a configuration that
 * nobody has signed (I1). Everything is said, nothing is a default of whoever starts it.
 */

const hostName = z
  .string()
  .max(253)
  .regex(
    /^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/,
    'a host name in lower-case letters, or an IPv4 address',
  )
  // What looks like an address is one.
  .refine((name) => isIpv4(name) || !/(^|\.)\d+$/.test(name), 'a host name, or an IPv4 address')

/** Dotted decimal, of four numbers without leading zeros. */
export function isIpv4(text: string): boolean {
  const parts = text.split('.')
  return parts.length === 4 && parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255)
}

const allowed = z.strictObject({
  /** Name or IPv4 address. */
  host: hostName,
  /** Of TCP; 53 is the guest's own name server. */
  ports: z
    .array(
      z
        .int()
        .min(1)
        .max(65_535)
        .refine((port) => port !== 53, 'port 53 is taken by the name server of the VM'),
    )
    .min(1)
    .max(20),
})

const network = z.discriminatedUnion('kind', [
  /** No network device at all. */
  z.strictObject({ kind: z.literal('none') }),
  /** The guest reaches what is listed, by TCP, and nothing else. */
  z.strictObject({
    kind: z.literal('user'),
    model: z.enum(['virtio', 'e1000e']),
    allow: z.array(allowed).max(100),
  }),
])

const parts = {
  memoryMiB: z.int().min(16).max(1_048_576),
  cpus: z.int().min(1).max(64),
  machine: z.enum(['q35', 'pc']),
  firmware: z.enum(['bios', 'uefi']),
  devices: z.strictObject({
    disk: z.enum(['virtio', 'sata']),
    /** `tablet`: absolute positions, which viewers need; `mouse` for guests that know no tablet. */
    pointer: z.enum(['tablet', 'mouse']),
  }),
  network,
  display: z.strictObject({
    /** What the screen begins with; the guest may change it. */
    width: z.int().min(320).max(7680),
    height: z.int().min(200).max(4320),
    /** A keyboard layout of QEMU, for viewers that send characters. */
    keyboard: z.string().regex(/^[a-z]{2}(-[a-z]{2})?$/, 'a keyboard layout such as en-us or de'),
    /** Text can be exchanged with an agent in the guest, as far as the decision permits it. */
    clipboard: z.boolean(),
  }),
}

export const vmConfig = z.strictObject(parts)
export type VmConfig = z.infer<typeof vmConfig>
export type VmNetwork = VmConfig['network']

const { devices, display } = parts

/** The same as a person writes it: what is not said is as usual. */
export const vmConfigFile: z.ZodType<VmConfig> = z.strictObject({
  memoryMiB: parts.memoryMiB,
  cpus: parts.cpus.default(1),
  machine: parts.machine.default('q35'),
  firmware: parts.firmware.default('bios'),
  devices: z
    .strictObject({
      disk: devices.shape.disk.default('virtio'),
      pointer: devices.shape.pointer.default('tablet'),
    })
    .prefault({}),
  network: network.default({ kind: 'none' }),
  display: z
    .strictObject({
      width: display.shape.width.default(1280),
      height: display.shape.height.default(800),
      keyboard: display.shape.keyboard.default('en-us'),
      clipboard: display.shape.clipboard.default(false),
    })
    .prefault({}),
})

/** What a VM is, in lines for people: a heading and what stands under it. */
export function describeVm(config: VmConfig): readonly (readonly [string, string])[] {
  const { memoryMiB, cpus, machine, firmware, devices, network, display } = config
  return [
    ['machine', `${machine} with ${firmware === 'uefi' ? 'UEFI' : 'BIOS'}, ${cpus} CPUs, ${memoryMiB} MiB`],
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
