import { ReleaseError } from './errors.ts'

/**
 * Names of images and versions: as registries take them, and without any character that means something in a pattern
 * of paths. Lower case, so that no name differs from another on some file systems only.
 */
export const labelPattern: RegExp = /^[a-z0-9][a-z0-9._-]{0,127}$/

/** TUF's own roles cannot be delegated; `constructor` is a member of every object, which readers in JavaScript trip over. */
const reserved: ReadonlySet<string> = new Set(['root', 'targets', 'snapshot', 'timestamp', 'constructor'])

/** True for what can name an image, and with it the role that signs its releases. */
export function isImageName(name: string): boolean {
  return labelPattern.test(name) && !reserved.has(name)
}

/** @throws {ReleaseError} RELEASE_BAD_NAME */
export function checkImageName(name: string): string {
  if (isImageName(name)) return name
  throw badName(`${JSON.stringify(name)} cannot name an image`)
}

/** @throws {ReleaseError} RELEASE_BAD_NAME */
export function checkVersion(version: string): string {
  if (labelPattern.test(version)) return version
  throw badName(`${JSON.stringify(version)} cannot be a version`)
}

/** The TUF target path of a release, `NAME/VERSION`. */
export function targetPath(name: string, version: string): string {
  return `${name}/${version}`
}

/** The version in a target path of this image; undefined for the path of another. */
export function versionOfPath(name: string, path: string): string | undefined {
  const version = path.startsWith(`${name}/`) ? path.slice(name.length + 1) : ''
  return labelPattern.test(version) ? version : undefined
}

function badName(problem: string): ReleaseError {
  return new ReleaseError('RELEASE_BAD_NAME', problem, {
    remedy: 'Use up to 128 of a-z, 0-9, dot, underscore and dash, beginning with a letter or digit.',
  })
}
