/** One element of a DER encoding, as a view into it. */
export interface DerElement {
  readonly tag: number
  /** Tag, length and content. */
  readonly whole: Uint8Array<ArrayBuffer>
  readonly content: Uint8Array<ArrayBuffer>
}

/**
 * Splits bytes into elements that fill them exactly.
 *
 * Source: X.690, sections 8.1 and 10.1: one-byte tags, definite lengths of up to two bytes in their shortest form
 *
 * @param bytes untrusted
 * @returns undefined when they are no such sequence, or more than `limit` elements
 */
export function splitDer(bytes: Uint8Array<ArrayBuffer>, limit: number): readonly DerElement[] | undefined {
  const elements: DerElement[] = []
  for (let at = 0; at < bytes.length; ) {
    const element = readElement(bytes.subarray(at))
    if (element === undefined || elements.length === limit) return undefined
    elements.push(element)
    at += element.whole.length
  }
  return elements
}

function readElement(bytes: Uint8Array<ArrayBuffer>): DerElement | undefined {
  const [tag = 0x1f, first = 0x80, second = 0, third = 0] = bytes
  const hasShortTag = (tag & 0x1f) !== 0x1f
  const [header, length] =
    first < 0x80 ? [2, first] : first === 0x81 ? [3, second] : [4, second * 256 + third]
  const isShortest = first < 0x80 || (first === 0x81 && length >= 0x80) || (first === 0x82 && length >= 0x100)
  if (!hasShortTag || !isShortest || header + length > bytes.length) return undefined
  return { tag, whole: bytes.subarray(0, header + length), content: bytes.subarray(header, header + length) }
}
