import { isImageName } from './names.ts'

/** A role by the name that its file has: `root`, `targets`, `snapshot`, `timestamp`, or the name of an image. */
export interface MetadataFile {
  readonly role: string
  /** Undefined for the timestamp, which is read before anything else is known. */
  readonly version: number | undefined
}

/** What a file of metadata is called (TUF 1.0, section 7.2.2: consistent snapshots). */
export function metadataFileName(role: string, version: number): string {
  return role === 'timestamp' ? 'timestamp.json' : `${version}.${role}.json`
}

/**
 * @param file untrusted
 * @returns undefined for anything but the name of a file of metadata
 */
export function parseMetadataFileName(file: string): MetadataFile | undefined {
  if (file === 'timestamp.json') return { role: 'timestamp', version: undefined }
  const [, version = '', role = ''] = /^([1-9]\d{0,8})\.(.{1,128})\.json$/.exec(file) ?? []
  const isRole = role === 'root' || role === 'targets' || role === 'snapshot' || isImageName(role)
  return isRole ? { role, version: Number(version) } : undefined
}
