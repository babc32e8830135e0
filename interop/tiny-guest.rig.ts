import { execFile } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { promisify } from 'node:util'
import { z } from 'zod'
import { RfbPerson } from '#apps/host/rfb-person.rig.ts'
import type { Channel } from '#core/channel/index.ts'
import type { ImageForTest } from './published-release.rig.ts'

/**
 * A guest of one sector that boots in a moment: it shows a greeting, and for each key that is typed reads the sector
 * a sector that lies far away, writes the marker and the key to another one, and shows `+`, or `-` when the disk failed. 8086
 * code, as the BIOS starts it at 7c00; what it does is beside each line.
 */
const code = [
  '31c0 8ed8 8ec0 8ed0 bc007c', // all segments 0, the stack below the code
  '8816687c', // keep the drive's number that the BIOS gave
  'b80300 cd10', // text mode
  'be567c ac 84c0 7406 b40e cd10 ebf5', // print the greeting
  '30e4 cd16 a2ab7c', // wait for a key, put it behind the marker
  'b40e cd10', // echo it
  'b442 be7c7c 8a16687c cd13 7215', // read a sector, far away
  'b80043 be6c7c 8a16687c cd13 7207', // write the marker
  'b82b0e cd10 ebd3', // +
  'b82d0e cd10 ebcc', // -
  Buffer.from('Trustcast guest\r\n\0').toString('hex'),
  '00 000000', // the drive; packets begin at a multiple of four
  '1000 0100 8c7c 0000 0008000000000000', // write 1 sector from the marker to 2048
  '1000 0100 0080 0000 0010000000000000', // read 1 sector from 4096 to 8000
  Buffer.from('TRUSTCAST-WRITTEN-IN-THE-GUEST:').toString('hex'),
]

const sectorBytes = 512
export const marker = 'TRUSTCAST-WRITTEN-IN-THE-GUEST:'
/** Where the marker goes: bytes of the disk. */
export const markerAt: number = 2048 * sectorBytes

/** The tiny guest's disk: random bytes, so that nothing of it compresses, under its boot sector. */
export function tinyDisk(mebibytes: number): Buffer {
  const disk = randomFillSync(Buffer.alloc(mebibytes << 20))
  disk.fill(0, 0, sectorBytes)
  Buffer.from(code.join('').replaceAll(' ', ''), 'hex').copy(disk)
  // One partition, bootable; the BIOS wants to see it, or takes it for a floppy.
  Buffer.from('8000020083000000 3f000000 803e0000'.replaceAll(' ', ''), 'hex').copy(disk, 446)
  disk.writeUInt16LE(0xaa55, 510)
  return disk
}

const run = promisify(execFile)

/** Imports the tiny guest as version 1 of an image that describes a VM, by the command line, into a store in `folder`. */
export async function importTinyVm(folder: string, name: string, mebibytes = 24): Promise<ImageForTest> {
  const [disk, vm, store] = [join(folder, `${name}.raw`), join(folder, 'vm.yaml'), join(folder, 'store')]
  await writeFile(disk, tinyDisk(mebibytes))
  await writeFile(vm, 'memoryMiB: 32\ndisplay: {width: 640, height: 480}\n')
  const keys = join(folder, 'image-keys')
  const words = [
    'image',
    'import',
    disk,
    `${name}:1`,
    '--store',
    store,
    '--chunk',
    '64K',
    '--vm',
    vm,
    '--json',
  ]
  const { stdout } = await run(join(import.meta.dirname, '..', 'trustcast'), words, {
    env: { ...process.env, TRUSTCAST_IMAGES: keys },
  })
  const { manifest } = z.looseObject({ manifest: z.string() }).parse(JSON.parse(stdout))
  const ring = z
    .looseObject({ key: z.string() })
    .parse(JSON.parse(await readFile(join(keys, `${name}.json`), 'utf8')))
  return {
    manifest: await readFile(join(store, 'blobs/sha256', manifest.slice('sha256:'.length))),
    key: Buffer.from(ring.key, 'base64url'),
    store,
  }
}

/** A person at a viewer that speaks RFB over a stream. */
export function personAt(stream: Duplex): RfbPerson {
  const channel = {
    send: (bytes: Uint8Array) => stream.write(bytes),
    close: () => stream.destroy(),
    onData: null,
    onState: null,
  } as unknown as Channel
  const person = new RfbPerson(channel)
  stream.on('data', (bytes: Buffer) => channel.onData?.(bytes))
  stream.on('error', () => {})
  stream.on('close', () => channel.onState?.('closed', 'VIEWER_LEFT'))
  return person
}
