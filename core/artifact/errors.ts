import { CodedError } from '#core/errors/coded-error.ts'

export type ArtifactErrorCode =
  /** The manifest is not one that this version reads. */
  | 'ARTIFACT_BAD_MANIFEST'
  /** The manifest, or the OCI manifest around it, is for another image than the one that was asked for. */
  | 'ARTIFACT_OTHER_IMAGE'
  /** The index is not whole, or not made for this image. */
  | 'ARTIFACT_BAD_INDEX'
  /** A chunk is not the one that was signed. */
  | 'ARTIFACT_WRONG_CHUNK'
  /** A chunk that was signed cannot be unpacked to what it must be. */
  | 'ARTIFACT_BAD_CHUNK'
  /** The key is not the one that the image was made with. */
  | 'ARTIFACT_WRONG_KEY'
  /** The key was taken back: the lease has ended or was withdrawn. */
  | 'ARTIFACT_KEY_WITHDRAWN'
  /** No store has this image. */
  | 'ARTIFACT_MISSING'
  /** A value that was given for an image cannot be one. */
  | 'ARTIFACT_BAD_INPUT'

/** What is wrong with a stored image. */
export class ArtifactError extends CodedError<ArtifactErrorCode> {
  protected static override readonly remedies: Readonly<Record<ArtifactErrorCode, string>> = {
    ARTIFACT_BAD_MANIFEST: 'Use another store, or import the image again.',
    ARTIFACT_OTHER_IMAGE: 'Copy the signed image there, or name another store.',
    ARTIFACT_BAD_INDEX: 'Use another store, or import the image again.',
    ARTIFACT_WRONG_CHUNK: 'The store altered it: use another store, or import the image again.',
    ARTIFACT_BAD_CHUNK: 'Check that the key belongs to the image; if it does, import the image again.',
    ARTIFACT_WRONG_KEY: 'Use the key of the image family.',
    ARTIFACT_KEY_WITHDRAWN: 'Launch or attach it again.',
    ARTIFACT_MISSING: 'Copy the image there, or name another store.',
    ARTIFACT_BAD_INPUT: 'Give what was expected.',
  }
}
