export const blocks = 64
export const firstValue = 1

export const keptOptions: { readonly blocks: number; readonly key: Uint8Array; readonly base: string } = {
  blocks,
  key: new Uint8Array(32).fill(9),
  base: 'image 1.0',
}

/** A block that is full of one value. */
export function blockOf(value: number): Uint8Array {
  return new Uint8Array(new Uint32Array(1024).fill(value).buffer)
}

/** @returns undefined for a block that is not full of one value */
export function valueOf(block: Uint8Array): number | undefined {
  const values = new Uint32Array(block.slice().buffer)
  return values.every((value) => value === values[0]) ? values[0] : undefined
}
