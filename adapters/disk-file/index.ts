export { type DiskFile, type OpenDiskFileOptions, openDiskFile } from './open-disk-file.ts'
