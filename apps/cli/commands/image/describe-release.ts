import { decodeManifest, type ImageManifest } from '#core/artifact/index.ts'
import { describeVm } from '#core/vm/index.ts'
import { sizeText } from './store-options.ts'

/**
 * What a release is, and what it changes, as far as the two manifests say.
 *
 * @param manifestBytes whose digest was compared with what is to be signed
 * @param previousManifestBytes of the release before it, if there is one
 * @returns lines for people
 * @throws {ArtifactError} ARTIFACT_BAD_MANIFEST
 */
export function describeRelease(
  manifestBytes: Uint8Array,
  previousManifestBytes: Uint8Array | undefined,
): readonly string[] {
  const manifest = decodeManifest(manifestBytes)
  const previous = previousManifestBytes && decodeManifest(previousManifestBytes)
  return [
    `  disk          ${changed(sizeText(manifest.sizeBytes), previous && sizeText(previous.sizeBytes))}`,
    `  sectors       ${changed(sizeText(manifest.sectorBytes), previous && sizeText(previous.sectorBytes))}`,
    `  chunks        ${changed(sizeText(manifest.chunkBytes), previous && sizeText(previous.chunkBytes))}`,
    `  stored        ${changed(sizeText(manifest.storedBytes), previous && sizeText(previous.storedBytes))}`,
    `  merkle root   ${manifest.merkleRoot}${previous?.merkleRoot === manifest.merkleRoot ? ', the same bytes as before' : ''}`,
    `  key           ${changed(manifest.keyId, previous?.keyId)}`,
    `  boot trace    ${changed(traceText(manifest), previous && traceText(previous))}`,
    `  made          ${manifest.createdAt}`,
    ...applicationsOf(manifest, previous),
    ...vmOf(manifest, previous),
  ]
}

function traceText({ trace }: ImageManifest): string {
  return trace === undefined ? 'none' : `sha256:${trace.digest}`
}

function changed(value: string, before: string | undefined): string {
  return before === undefined || before === value ? value : `${value}, before ${before}`
}

function applicationsOf(manifest: ImageManifest, previous: ImageManifest | undefined): readonly string[] {
  const names = new Set([...Object.keys(manifest.applications), ...Object.keys(previous?.applications ?? {})])
  return [...names].toSorted().map((name) => {
    const command = commandOf(manifest, name)
    if (command === undefined) return `  application   ${name} is gone`
    return `  application   ${name}: ${changed(command, commandOf(previous, name))}`
  })
}

/** Who signs it signs what the virtual machine may reach, too. */
function vmOf({ vm }: ImageManifest, previous: ImageManifest | undefined): readonly string[] {
  if (vm === undefined) return previous?.vm === undefined ? [] : ['  vm            is gone']
  const before = new Map(previous?.vm === undefined ? [] : describeVm(previous.vm))
  return describeVm(vm).map(([name, value]) => `  vm ${name.padEnd(10)} ${changed(value, before.get(name))}`)
}

function commandOf(of: ImageManifest | undefined, name: string): string | undefined {
  return of !== undefined && Object.hasOwn(of.applications, name)
    ? of.applications[name] && commandText(of.applications[name].command)
    : undefined
}

/** A command on one line, of which no two look the same: where a word ends is seen, and what cannot be printed is named. */
export function commandText(words: readonly string[]): string {
  return words
    .map((word) =>
      /^[\p{L}\p{M}\p{N}\p{P}\p{S}]+$/u.test(word) && !/["'\\]/.test(word) ? word : quoted(word),
    )
    .join(' ')
}

function quoted(word: string): string {
  return JSON.stringify(word).replaceAll(
    /[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu,
    (one) => `\\u{${one.codePointAt(0)?.toString(16)}}`,
  )
}
