import { isIpv4, type VmNetwork } from './vm-config.ts'

/**
 * The network of a VM that may reach only what its release lists: names are answered with addresses that mean nothing
 * elsewhere, and a connection to one of these leads to the host of that name, on the listed ports.
 */

export type AllowList = Extract<VmNetwork, { readonly kind: 'user' }>['allow']

export interface Destination {
  /** Name or IPv4 address, as the release lists it. */
  readonly host: string
  readonly port: number
}

/** Where a connection of the guest leads; undefined: nowhere. @param address that the guest dialled */
export function destinationOf(allow: AllowList, address: string, port: number): Destination | undefined {
  for (const { host, ports } of allow)
    if (addressOf(allow, host) === address && ports.includes(port)) return { host, port }
  return undefined
}

/** Every port that some connection may lead to, each once. */
export function portsOf(allow: AllowList): readonly number[] {
  return [...new Set(allow.flatMap(({ ports }) => ports))].toSorted((a, b) => a - b)
}

/** RFC 2544 keeps 198.18.0.0/15 for measurements: nobody lives there. */
function addressOf(allow: AllowList, host: string): string | undefined {
  if (isIpv4(host)) return host
  const index = [...new Set(allow.map((one) => one.host))].indexOf(host)
  return index < 0 ? undefined : `198.18.${Math.floor(index / 250)}.${(index % 250) + 1}`
}

const headerBytes = 12
const typeA = 1
const classIn = 1
const anyType = 255
/** Longest question that is read; answers add 16 bytes. */
const maximumQueryBytes = 512
const timeToLiveSec = 60
const [noError, nameError, notImplemented] = [0, 3, 4]

/**
 * Answers a question of the guest's resolver: the address of a listed name, and that there is no other.
 *
 * Spec: RFC 1035 section 4.1: id u16 | flags u16 | four counts u16 | question: labels, type u16, class u16
 *
 * @returns undefined for what is no question
 */
export function answerName(query: Uint8Array, allow: AllowList): Uint8Array | undefined {
  const question = readQuestion(query)
  if (question === undefined) return undefined
  const { name, type, end } = question
  const address = addressOf(allow, name)
  const isKnown = allow.some(({ host }) => host === name) && address !== undefined
  const hasAnswer = isKnown && question.class === classIn && (type === typeA || type === anyType)
  const answer = Buffer.alloc(end + (hasAnswer ? 16 : 0))
  answer.set(query.subarray(0, end))
  const view = new DataView(answer.buffer, answer.byteOffset)
  const opcode = (view.getUint16(2) >>> 11) & 0xf
  const code = opcode !== 0 ? notImplemented : isKnown ? noError : nameError
  // It is an answer, authoritative, recursion is as good as available.
  view.setUint16(2, 0x8480 | (opcode << 11) | (view.getUint16(2) & 0x0100) | code)
  for (const [at, count] of [
    [4, 1],
    [6, hasAnswer ? 1 : 0],
    [8, 0],
    [10, 0],
  ] as const)
    view.setUint16(at, count)
  if (hasAnswer) writeAddress(view, end, address)
  return answer
}

/** The name is where the question has it, at byte 12. */
function writeAddress(view: DataView, at: number, address: string): void {
  view.setUint16(at, 0xc000 | headerBytes)
  view.setUint16(at + 2, typeA)
  view.setUint16(at + 4, classIn)
  view.setUint32(at + 6, timeToLiveSec)
  view.setUint16(at + 10, 4)
  for (const [index, part] of address.split('.').entries()) view.setUint8(at + 12 + index, Number(part))
}

interface Question {
  /** In lower-case letters, without the last dot. */
  readonly name: string
  readonly type: number
  readonly class: number
  /** Where it ends. */
  readonly end: number
}

/** What follows the first question, such as EDNS options, is not read. */
function readQuestion(query: Uint8Array): Question | undefined {
  if (query.length < headerBytes + 5 || query.length > maximumQueryBytes) return undefined
  const view = new DataView(query.buffer, query.byteOffset, query.length)
  const isQuestion = (view.getUint16(2) & 0x8000) === 0 && view.getUint16(4) === 1
  if (!isQuestion) return undefined
  const labels: string[] = []
  let at = headerBytes
  for (;;) {
    const length = query[at]
    // Longer ones are pointers, which a question has no use for.
    if (length === undefined || length > 63 || at + 1 + length > query.length) return undefined
    at += 1
    if (length === 0) break
    labels.push(
      Buffer.from(query.subarray(at, at + length))
        .toString('latin1')
        .toLowerCase(),
    )
    at += length
  }
  if (at + 4 > query.length) return undefined
  return { name: labels.join('.'), type: view.getUint16(at), class: view.getUint16(at + 2), end: at + 4 }
}
