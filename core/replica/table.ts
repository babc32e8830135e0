import type { PieceContent } from '#core/block/capturable.ts'
import { PieceSet } from '#core/block/piece-set.ts'

/** What a replica holds of each piece of a disk; of those that are in neither it holds nothing. */
export interface PieceTable {
  /** Names of pieces that are stored: 64 hexadecimal digits. */
  readonly names: Map<number, string>
  /** Pieces of which every block is zeros: nothing is stored of them, however many a trim makes. */
  readonly zeros: PieceSet
}

export function emptyTable(pieces: number): PieceTable {
  return { names: new Map(), zeros: new PieceSet(pieces) }
}

export function copyOfTable({ names, zeros }: PieceTable): PieceTable {
  return { names: new Map(names), zeros: zeros.clone() }
}

/** What stands for a piece in a table beside the name of what is stored. */
export function isWhole({ runs }: PieceContent, kind: 'absent' | 'zero'): boolean {
  return runs.every((run) => run.kind === kind)
}

/** @param name of what is stored; `absent` and `zero` need nothing */
export function setPiece(
  { names, zeros }: PieceTable,
  piece: number,
  what: { readonly name: string } | 'absent' | 'zero',
): void {
  if (what === 'zero') zeros.add(piece)
  else zeros.delete(piece)
  if (typeof what === 'string') names.delete(piece)
  else names.set(piece, what.name)
}
