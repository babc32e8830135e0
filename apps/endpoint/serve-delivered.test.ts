import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { mountTable } from '#adapters/mount-nbd/mount-table.ts'
import { imageKey } from '#apps/images/key-ring.ts'
import { trustedDigest } from '#apps/images/trusted-image.ts'
import type { BlockDevice } from '#core/block/block-device.ts'
import { LeaseError } from '#core/lease/index.ts'
import type { Overlay } from '#core/trust/words.ts'
import { openDisk } from './disk/open-disk.ts'
import type { OpenedDisk } from './launch-disk.ts'
import { type Delivered, serveDelivered } from './serve-delivered.ts'
import { overlayPlace } from './vm/snapshots.ts'

const run = promisify(execFile)
const reference = { name: 'base', version: '1' }
const environment = { ...process.env }
let folder: string
let mounted: string
let keptIn: string
let warned: unknown[] = []

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'serve-delivered-'))
  mounted = join(folder, 'mounted')
  keptIn = join(folder, 'overlays/base/1')
  process.env['TRUSTCAST_IMAGES'] = join(folder, 'keys')
  process.env['TRUSTCAST_STORE'] = join(folder, 'store')
  await mkdir(join(folder, 'source'))
  await writeFile(join(folder, 'source/name'), 'streamed\n')
  const image = join(folder, 'base.img')
  await run('mke2fs', ['-q', '-t', 'ext4', '-d', join(folder, 'source'), image, '32M'])
  await run(join(import.meta.dirname, '../../trustcast'), ['image', 'import', image, 'base:1'])
})

afterEach(async () => {
  expect((await mountTable()).filter(({ point }) => point.startsWith(folder))).toEqual([])
  expect(await readdir(join(folder, 'run/disks')).catch(() => [])).toEqual([])
  warned = []
})

afterAll(async () => {
  process.env = environment
  await rm(folder, { recursive: true })
})

test('a lease that is over before the disk is served leaves nothing, and nothing reads', async () => {
  const lease = leaseOf('discard')
  const delivered = await opened('discard')
  lease.withdraw()
  await expect(served(lease, delivered)).rejects.toMatchObject({ code: 'LEASE_WITHDRAWN' })
  await expect(delivered.attached.device.read(0n, 4096)).rejects.toThrow()
})

test('a lease that ends while the disk is being served leaves nothing, whenever that is', async () => {
  for (const pauseMs of [0, 5, 20, 60, 120, 250, 500]) {
    const lease = leaseOf('keep')
    const delivered = await opened('keep')
    const serving = served(lease, delivered)
    serving.catch(() => undefined)
    await sleep(pauseMs)
    lease.withdraw()
    await serving.then(
      // It was there already: then it is taken down as a whole.
      (disk) => disk[Symbol.asyncDispose](),
      (error: unknown) => expect(error, `after ${pauseMs} ms`).toBeInstanceOf(Error),
    )
    await expect(delivered.attached.device.read(0n, 4096), `after ${pauseMs} ms`).rejects.toThrow()
    expect((await mountTable()).filter(({ point }) => point.startsWith(folder))).toEqual([])
  }
})

test('what was kept is there again, until the site decides that nothing is kept', async () => {
  {
    await using disk = await served(leaseOf('keep'), await opened('keep'), write)
    await disk.run()
  }
  expect(existsSync(join(keptIn, 'data'))).toBe(true)
  const lease = leaseOf('keep')
  {
    await using disk = await served(lease, await opened('keep'), look)
    await disk.run()
    lease.decide('discard')
    lease.withdraw()
  }
  expect(existsSync(keptIn)).toBe(false)
  // What could not be flushed any more is told, and nothing else.
  expect(warned.filter((error) => !(error instanceof LeaseError))).toEqual([])
  await using disk = await served(leaseOf('keep'), await opened('keep'), look)
  await expect(disk.run()).rejects.toThrow('No such file')
})

test('what an application wrote last is written out, however long that takes, while the lease stands', async () => {
  const delivered = await opened('keep')
  const { device } = delivered.attached
  let isSlow: Promise<unknown> | undefined
  const slow: BlockDevice = {
    ...device,
    read: (offset, length) => device.read(offset, length),
    write: async (offset, bytes) => {
      await isSlow
      await device.write?.(offset, bytes)
    },
  }
  // Whoever stops the service, or the command, ends it by that.
  const stop = new AbortController()
  const use = async (): Promise<void> => {
    await write()
    // For longer than a disk is given whose lease is over.
    isSlow = sleep(3_000)
    stop.abort()
    await new Promise(() => {})
  }
  {
    const onSlow = { ...delivered, attached: { ...delivered.attached, device: slow } }
    await using disk = await served(leaseOf('keep'), onSlow, use, stop.signal)
    await disk.run()
  }
  await using disk = await served(leaseOf('keep'), await opened('keep'), look)
  await disk.run()
  expect(warned).toEqual([])
})

async function write(): Promise<void> {
  await run('cp', ['/etc/hostname', join(mounted, 'written')])
}

async function look(): Promise<void> {
  await run('cat', [join(mounted, 'written')])
}

function leaseOf(overlay: Overlay) {
  const over = new AbortController()
  let current = overlay
  return {
    application: 'shell',
    signal: over.signal,
    overlay: () => current,
    decide: (next: Overlay) => {
      current = next
    },
    withdraw: () => over.abort(new LeaseError('LEASE_WITHDRAWN', 'the site has withdrawn it')),
  }
}

async function opened(overlay: Overlay): Promise<Delivered> {
  const attached = await openDisk({
    reference,
    manifestDigest: await trustedDigest(reference),
    stores: [join(folder, 'store')],
    storeOptions: {},
    key: await imageKey('base'),
    memoryBytes: 67_108_864,
    overlay,
    overlayDir: join(folder, 'overlays'),
    warn: (error) => void warned.push(error),
  })
  return { attached, overlay, place: overlayPlace(join(folder, 'overlays'), 'base', '1') }
}

async function served(
  lease: ReturnType<typeof leaseOf>,
  delivered: Delivered,
  use: () => Promise<void> = async () => undefined,
  stop: AbortSignal = new AbortController().signal,
): Promise<OpenedDisk> {
  const mount = { dir: mounted, readOnly: false }
  const serving = { format: 'raw' as const, runDir: join(folder, 'run'), mount }
  return serveDelivered({ serving, use, stop, warn: (error) => void warned.push(error) }, lease, delivered)
}
