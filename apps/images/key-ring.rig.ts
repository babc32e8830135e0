import { imageKeyOrNew, rememberMade } from './key-ring.ts'

/** A process that imports: takes the key of a family, remembers some versions, and prints the key. */
const [name = '', ...versions] = process.argv.slice(2)
const key = await imageKeyOrNew(name)
for (const version of versions) await rememberMade({ name, version }, `sha256:${'0'.repeat(64)}`)
process.stdout.write(Buffer.from(key).toString('hex'))
