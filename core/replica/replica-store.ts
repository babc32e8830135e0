/**
 * Where the data centre keeps what replicas are made of. It is not trusted: everything in it is sealed by endpoints, which
 * check it when they read it.
 *
 * Concurrency: any number of calls at once, also of several processes on one folder. What was answered is durable.
 * Whatever is put again is there already, and counts as new for `collect`.
 */
export interface ReplicaStore {
  /**
   * @param replica UUID
   * @param name 64 hexadecimal digits
   * @returns false when it was there
   */
  putPiece(replica: string, name: string, bytes: Uint8Array): Promise<boolean>
  /** @returns undefined when it is not there, as the others */
  piece(replica: string, name: string): Promise<Uint8Array | undefined>
  pieceBytes(replica: string, name: string): Promise<number | undefined>
  /** @param digest SHA-256 of the bytes, hexadecimal */
  putManifest(replica: string, digest: string, bytes: Uint8Array): Promise<void>
  manifest(replica: string, digest: string): Promise<Uint8Array | undefined>
  /**
   * Removes what is neither kept nor newer than `before`.
   *
   * @returns how many bytes of pieces are left
   */
  collect(
    replica: string,
    keep: { readonly names: ReadonlySet<string>; readonly manifest: string | undefined },
    before: Date,
  ): Promise<number>
  /** All of a replica. */
  remove(replica: string): Promise<void>
  /** Replicas of which there is something that nobody has touched since `before`. */
  idle(before: Date): Promise<readonly string[]>
}
