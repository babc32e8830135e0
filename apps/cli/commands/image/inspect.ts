import { madeHere } from '#apps/images/key-ring.ts'
import { openReader } from '#apps/images/open-store.ts'
import { readClaimed } from '#core/artifact/index.ts'
import { formatReference, mediaTypes, parseReference } from '#core/blobs/index.ts'
import { describeVm } from '#core/vm/index.ts'
import { type Command, parse } from '../../command.ts'
import { commandText } from './describe-release.ts'
import { sizeText, storeAddress, storeOptions, storeSynopsis, storeWords } from './store-options.ts'

export const inspectCommand: Command = {
  synopsis: `inspect NAME:VERSION ${storeSynopsis}`,
  summary: 'What a store says that an image is. Needs no key, and proves nothing: verify does.',
  run: async (args, out) => {
    const words = parse(args, storeWords, [1, 1])
    const reference = parseReference(words.positionals[0] ?? '')
    await using store = await openReader(storeAddress(words), await storeOptions(words))
    const { manifest, oci } = await readClaimed(store, reference, out.signal)
    const packs = oci.layers.filter(({ mediaType }) => mediaType === mediaTypes.pack)
    const packBytes = packs.reduce((sum, { size }) => sum + size, 0)
    const isMadeHere = (await madeHere(reference)) === oci.config.digest
    out.result({ ...manifest, manifest: oci.config.digest, packs: packs.length, packBytes, isMadeHere }, () =>
      [
        formatReference(reference),
        `  disk          ${sizeText(manifest.sizeBytes)} (${manifest.sizeBytes} bytes), sectors of ${manifest.sectorBytes}`,
        `  chunks        ${sizeText(manifest.chunkBytes)} each`,
        `  stored        ${sizeText(packBytes)} in ${packs.length === 1 ? '1 pack' : `${packs.length} packs`}, some of which other versions may share`,
        `  manifest      ${oci.config.digest}${isMadeHere ? ', made here' : ''}`,
        `  merkle root   ${manifest.merkleRoot}`,
        `  key           ${manifest.keyId}`,
        `  disk id       ${manifest.diskId}`,
        `  boot trace    ${manifest.trace === undefined ? 'none' : sizeText(manifest.trace.sizeBytes)}`,
        `  made          ${manifest.createdAt}`,
        ...Object.entries(manifest.applications).map(
          ([name, { command }]) => `  application   ${name}: ${commandText(command)}`,
        ),
        ...(manifest.vm === undefined ? [] : describeVm(manifest.vm)).map(
          ([name, value]) => `  vm ${name.padEnd(10)} ${value}`,
        ),
      ].join('\n'),
    )
  },
}
