import { createHash } from 'node:crypto'
import type { Boot } from './attestation.ts'
import { EV, type EventLog, type MeasuredEvent } from './event-log.ts'
import type { PcrValues } from './quote.ts'
import { TpmError } from './tpm-error.ts'

/**
 * What a machine booted, out of a log that matches a quote.
 *
 * | PCR   | holds                                         | here             |
 * |-------|-----------------------------------------------|------------------|
 * | 0     | firmware                                      | firmware         |
 * | 2     | drivers on extension cards                    | drivers          |
 * | 4     | what the firmware started                     | boot loader      |
 * | 7     | Secure Boot: its state and its keys           | Secure Boot keys |
 * | 8, 12 | what GRUB and systemd-stub gave on            | command line     |
 * | 9     | what GRUB and the kernel's EFI stub read      | kernel, initrd   |
 * | 14    | keys and switches of shim                     | owner's keys     |
 *
 * Source: TCG PC Client Platform Firmware Profile, section 3.3.4; Linux TPM PCR Registry (UAPI group).
 *
 * INVARIANT: whether a boot is another one is said by the PCRs alone, all events of which count. The log explains it and
 * says whether Secure Boot was on; nothing that it says can make a changed boot an expected one.
 */

/** A part of what was booted. */
export interface BootComponent {
  readonly part: BootPart
  /** For people; nothing vouches for it. */
  readonly name: string
  /** SHA-256 of all that was measured under the name, hex. */
  readonly digest: string
}

export type BootPart =
  | 'firmware'
  | 'drivers'
  | 'boot loader'
  | 'Secure Boot keys'
  | 'command line'
  | 'kernel'
  | 'initrd'
  | "owner's keys"

/** What is quoted: all that ends before the kernel runs. PCR 10 and 11 go on to change after it. */
export const quotedPcrs: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 14]

/** What a boot is known by. The others hold what changes by itself: boot order, serial numbers, partition tables. */
const partOfPcr: ReadonlyMap<number, BootPart> = new Map([
  [0, 'firmware'],
  [2, 'drivers'],
  [4, 'boot loader'],
  [7, 'Secure Boot keys'],
  [8, 'command line'],
  [9, 'kernel'],
  [12, 'command line'],
  [14, "owner's keys"],
])
const maxNameChars = 100
const maxComponents = 200

/**
 * @param pcrs as they were quoted: all that a boot is known by, since what is left out cannot change
 * @param log matches `pcrs`; absent when it was not sent
 * @throws {TpmError} TPM_QUOTE_WRONG_PCRS
 */
export function bootOf(pcrs: PcrValues, log: EventLog | undefined): Boot {
  const missing = quotedPcrs.filter((pcr) => !pcrs.has(pcr))
  if (missing.length > 0)
    throw new TpmError('TPM_QUOTE_WRONG_PCRS', `expected a quote over PCR ${missing.join(', ')}, too`)
  const values = Object.fromEntries(
    [...pcrs].map(([pcr, value]) => [String(pcr), Buffer.from(value).toString('hex')]),
  )
  if (log === undefined) return { pcrs: values }
  return { pcrs: values, secureBoot: secureBootOf(log), components: componentsOf(log) }
}

/** True when both boots are told apart by no PCR that a boot is known by. */
export function isSameBoot(a: Boot, b: Boot): boolean {
  return changedPcrs(a, b).length === 0
}

/**
 * What differs, for people: `kernel changed (/boot/vmlinuz-6.1.0-30-amd64)`. Empty when nothing does.
 */
export function bootDifference(before: Boot, after: Boot): readonly string[] {
  const pcrs = changedPcrs(before, after)
  if (pcrs.length === 0) return []
  const named =
    before.components === undefined || after.components === undefined
      ? []
      : componentDifference(before.components, after.components)
  const secure =
    before.secureBoot === undefined ||
    after.secureBoot === undefined ||
    before.secureBoot === after.secureBoot
      ? []
      : [`Secure Boot was ${before.secureBoot} and is ${after.secureBoot}`]
  if (named.length + secure.length > 0) return [...secure, ...named]
  return pcrs.map((pcr) => `${partOfPcr.get(pcr) ?? 'measurement'} changed (PCR ${pcr})`)
}

/**
 * Secure Boot as the firmware measured it: its variable, before the separator that ends what the firmware says, and no word that
 * shim was told not to verify. `unknown` when any event of PCR 7 says what its digest does not.
 *
 * Source: PFP, sections 3.3.4.8 and 10.2.6 (UEFI_VARIABLE_DATA); shim, README.tpm (MokSBState)
 */
export function secureBootOf({ events }: EventLog): 'on' | 'off' | 'unknown' {
  const own = events.filter(({ pcr }) => pcr === 7)
  if (!own.every(({ isDataMeasured }) => isDataMeasured)) return 'unknown'
  const end = own.findIndex(({ data }) => data.equals(separator))
  const variables = own.map(({ data }) => decodeVariable(data))
  const state = variables
    .slice(0, Math.max(0, end))
    .find((one) => one?.name === 'SecureBoot' && one.guid === globalVariable)
  if (state?.data.length !== 1) return 'unknown'
  const isShimOff = variables.some((one) => one?.name === 'MokSBState' && one.data[0] === 1)
  return state.data[0] === 1 && !isShimOff ? 'on' : 'off'
}

/** What the kernel was started with, whole, as GRUB and systemd-stub write it down; the kernel's EFI stub only names what it measured. */
export function commandLinesIn({ events }: EventLog): readonly string[] {
  const texts = events
    .filter(({ type }) => type === EV.IPL)
    .map(({ pcr, data }) => ({ pcr, text: data.toString('utf8').replaceAll('\0', '') }))
    .filter(({ pcr, text }) => pcr === 12 || text.startsWith('kernel_cmdline:'))
  return [...new Set(texts.map(({ text }) => text))]
}

const separator = Buffer.alloc(4)
/** EFI_GLOBAL_VARIABLE, 8be4df61-93ca-11d2-aa0d-00e098032b8c, as it lies in memory. */
const globalVariable = '61dfe48bca93d211aa0d00e098032b8c'

interface Variable {
  readonly guid: string
  readonly name: string
  readonly data: Buffer
}

/** Spec: PFP, section 10.2.6: guid 16 | name length u64 in UTF-16 units | data length u64 | name | data; little-endian */
function decodeVariable(bytes: Buffer): Variable | undefined {
  if (bytes.length < 32) return undefined
  const nameBytes = bytes.readBigUInt64LE(16) * 2n
  const dataBytes = bytes.readBigUInt64LE(24)
  if (32n + nameBytes + dataBytes !== BigInt(bytes.length)) return undefined
  const dataAt = 32 + Number(nameBytes)
  return {
    guid: bytes.toString('hex', 0, 16),
    // From where zeros begin, not from each of them: an endpoint may send half a megabyte of them.
    name: bytes.toString('utf16le', 32, dataAt).replace(/(?<!\0)\0+$/, ''),
    data: bytes.subarray(dataAt),
  }
}

/** Every event of the PCRs that count, those of one name together. */
function componentsOf({ events }: EventLog): readonly BootComponent[] {
  const digests = new Map<string, { part: BootPart; name: string; all: Buffer[] }>()
  let applications = 0
  for (const event of events) {
    const part = partOfPcr.get(event.pcr)
    if (part === undefined || event.data.equals(separator)) continue
    if (event.type === EV.EFI_BOOT_SERVICES_APPLICATION) applications++
    const one = nameOf(event, part, applications)
    const key = `${one.part}\0${one.name}`
    const entry = digests.get(key) ?? { ...one, all: [] }
    entry.all.push(event.digest)
    digests.set(key, entry)
  }
  return [...digests.values()].slice(0, maxComponents).map(({ part, name, all }) => ({
    part,
    name,
    digest: createHash('sha256').update(Buffer.concat(all)).digest('hex'),
  }))
}

function nameOf(
  { pcr, type, data }: MeasuredEvent,
  part: BootPart,
  applications: number,
): { readonly part: BootPart; readonly name: string } {
  if (pcr === 7) return { part, name: clean(decodeVariable(data)?.name ?? 'state') }
  if (pcr === 4 && type === EV.EFI_BOOT_SERVICES_APPLICATION) {
    const path = devicePathText(data)
    const name = path === '' ? `started by it (${applications})` : path
    return { part: /vmlinu|\\linux/i.test(path) ? 'kernel' : part, name: clean(name) }
  }
  if (pcr === 9 && type === EV.EVENT_TAG) return taggedName(data)
  if ((pcr === 8 || pcr === 9 || pcr === 12 || pcr === 14) && type === EV.IPL) {
    const text = clean(data.toString('utf8'))
    if (pcr === 8 && !text.startsWith('kernel_cmdline:')) return { part: 'boot loader', name: 'commands' }
    // GRUB names the file in PCR 9, and the whole line in PCR 8, which would make each change another name.
    if (pcr === 8) return { part, name: 'kernel' }
    if (pcr === 9) return { part: partOfFile(text), name: text }
    return { part, name: pcr === 14 ? text : 'addition' }
  }
  return { part, name: part }
}

/** Spec: Linux, drivers/firmware/efi/libstub: tags of the initrd (0x8f3b22ec) and of the load options (0x8f3b22ed). */
function taggedName(data: Buffer): { readonly part: BootPart; readonly name: string } {
  const tag = data.length < 4 ? 0 : data.readUInt32LE(0)
  if (tag === 0x8f3b22ec) return { part: 'initrd', name: 'initrd' }
  return tag === 0x8f3b22ed
    ? { part: 'command line', name: 'kernel' }
    : { part: 'kernel', name: 'tagged event' }
}

function partOfFile(path: string): BootPart {
  if (/initrd|initramfs/i.test(path)) return 'initrd'
  return /vmlinu|bzimage|\/linux/i.test(path) ? 'kernel' : 'boot loader'
}

/**
 * The file of an UEFI_IMAGE_LOAD_EVENT's device path, empty when it names none. Spec: PFP, section 10.2.3; UEFI, section 10.3.5.4:
 * nodes of type u8 | subtype u8 | length u16; a file path is 4, 4 and UTF-16.
 */
function devicePathText(data: Buffer): string {
  let text = ''
  for (let at = 32; at + 4 <= data.length; ) {
    const length = data.readUInt16LE(at + 2)
    if (length < 4 || at + length > data.length) break
    if (data[at] === 4 && data[at + 1] === 4) text += data.toString('utf16le', at + 4, at + length)
    at += length
  }
  return text.replaceAll('\0', '')
}

function componentDifference(
  before: readonly BootComponent[],
  after: readonly BootComponent[],
): readonly string[] {
  const keyOf = ({ part, name }: BootComponent): string => `${part}\0${name}`
  const old = new Map(before.map((one) => [keyOf(one), one]))
  const now = new Map(after.map((one) => [keyOf(one), one]))
  return [
    ...after
      .filter((one) => old.get(keyOf(one))?.digest !== one.digest)
      .map((one) => said(one, old.has(keyOf(one)) ? 'changed' : 'is new')),
    ...before.filter((one) => !now.has(keyOf(one))).map((one) => said(one, 'is gone')),
  ]
}

function said({ part, name }: BootComponent, what: string): string {
  const plural = part === 'drivers' || part.endsWith('keys')
  const words = plural && what !== 'changed' ? what.replace('is', 'are') : what
  return part === name ? `${part} ${words}` : `${part} ${words} (${name})`
}

function changedPcrs(a: Boot, b: Boot): readonly number[] {
  return [...partOfPcr.keys()].filter((pcr) => a.pcrs[String(pcr)] !== b.pcrs[String(pcr)])
}

/** Names come from whoever sends the log and are shown to people. */
function clean(text: string): string {
  return text
    .replaceAll('\0', '')
    .replace(/[^\x20-\x7e]/g, '?')
    .slice(0, maxNameChars)
}
