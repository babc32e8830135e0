/** Less is not worth while. */
const leastBytes = 16_384

/**
 * Frees the memory behind bytes now. The collector counts such memory only roughly and frees it much later, so that each
 * chunk of a copy would lie in memory that was never used before, which costs more than to fill it.
 *
 * Whoever still has a view of that memory finds it empty: the caller must be the only one who has. What has a small part
 * of its memory, as Node's pool hands it out, is left alone.
 */
export function giveBack({ buffer, length }: Uint8Array): void {
  const isWorthWhile = buffer instanceof ArrayBuffer && buffer.byteLength >= leastBytes
  if (isWorthWhile && length * 2 > buffer.byteLength) buffer.transfer(0)
}
