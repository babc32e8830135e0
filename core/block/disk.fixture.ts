/** A disk of 4 KiB blocks, data and holes by turns, whose data differs everywhere. */
export function patternedDisk(sizeBytes: number): Uint8Array {
  const disk = new Uint8Array(sizeBytes)
  for (let at = 0; at < sizeBytes; at++) if ((at >> 13) % 3 !== 1) disk[at] = (at * 7 + (at >> 9)) | 1
  return disk
}
