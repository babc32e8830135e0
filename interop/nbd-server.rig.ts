/**
 * An NBD server in a process of its own, for peers that start their server themselves:
 * `nbd-server.rig.ts [--stdio] FILE` serves the file's bytes, changed only in memory.
 */
import { readFile } from 'node:fs/promises'
import { activatedDescriptors, NbdServer, standardStreams } from '#adapters/nbd-server/index.ts'
import { memoryDevice } from '#core/block/memory-device.fixture.ts'

const file = process.argv.at(-1) ?? ''
const server = new NbdServer({
  exports: [{ name: 'disk', description: 'a disk for tests', device: memoryDevice(await readFile(file)) }],
  onDropped: (error) => console.error(error),
})
if (process.argv.includes('--stdio')) {
  await server.serve(standardStreams())
} else {
  for (const fd of activatedDescriptors(process.env, process.pid)) await server.listenDescriptor(fd)
  process.once('SIGTERM', () => void server.close())
}
