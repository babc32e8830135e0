/**
 * A process that works on a store until it is killed, for tests of what it leaves:
 *
 * `directory.rig.ts put FOLDER` puts random blobs and prints the digest of each once it is durable.
 * `directory.rig.ts tag FOLDER NAME COUNT` names COUNT versions of an image, prints each, and ends.
 * `directory.rig.ts collect FOLDER` collects again and again without grace, and prints each time.
 * `directory.rig.ts pin FOLDER DIGEST` keeps a pin and prints when it has it.
 * `directory.rig.ts fill FOLDER` puts until it fails, and prints the code.
 */
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { digestOf, encodeOciManifest, mediaTypes, parseDigest } from '#core/blobs/index.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import { openDirectoryStore } from './index.ts'

const [, , mode = '', folder = '', word = '', count = '0'] = process.argv
const store = await openDirectoryStore(folder)

switch (mode) {
  case 'put':
    await Promise.all([1, 2, 3].map(putForever))
    break
  case 'tag':
    await tagVersions()
    break
  case 'collect':
    for (;;) {
      const { deleted } = await store.collect({ graceMs: 0, now: Date.now() })
      console.log(`collected ${deleted}`)
    }
  case 'pin':
    await store.pin([parseDigest(word)])
    console.log('pinned')
    await sleep(1 << 30)
    break
  case 'fill':
    await fill()
    break
  default:
    throw new Error(`expected put, tag, collect, pin or fill, got ${mode}`)
}

async function putForever(): Promise<never> {
  for (;;) {
    const blob = randomBytes(1 + Math.floor(Math.random() * 300_000))
    const digest = digestOf(blob)
    await store.put(digest, blob)
    console.log(digest)
  }
}

async function tagVersions(): Promise<void> {
  for (let version = 0; version < Number(count); version++) {
    const config = Buffer.from(JSON.stringify({ name: word, version }))
    const digest = digestOf(config)
    await store.put(digest, config)
    const manifest = encodeOciManifest({
      config: { mediaType: mediaTypes.image, digest, size: config.length },
      layers: [],
    })
    await store.tag({ name: word, version: String(version) }, manifest)
    console.log(version)
  }
}

async function fill(): Promise<void> {
  for (;;) {
    const blob = randomBytes(100_000)
    try {
      await store.put(digestOf(blob), blob)
    } catch (error) {
      console.log(isCoded(error) ? error.code : error)
      return
    }
  }
}
