export { DiskFileError, type DiskFileErrorCode } from './errors.ts'
export { fileSource } from './file-source.ts'
export { type DiskFile, type OpenDiskFileOptions, openDiskFile } from './open-disk-file.ts'
