import { execFile } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { z } from 'zod'
import { diskDeliverer } from '#apps/endpoint/deliver-disk.ts'
import { statsOfDisk } from '#apps/endpoint/disk/attached.ts'
import type { ReplicaStats } from '#apps/endpoint/disk/disk-stats.ts'
import type { DiskRecord } from '#apps/endpoint/disk/record.ts'
import type { EndpointAgent } from '#apps/endpoint/endpoint-agent.ts'
import { type DiskEnd, launchDisk } from '#apps/endpoint/launch-disk.ts'
import type { DeliveredDisk } from '#apps/endpoint/serve-delivered.ts'
import type { StoreOptions } from '#apps/images/open-store.ts'
import type { SiteAddress } from '#apps/site-client/call.ts'
import { releaseMetadata } from '#apps/site-client/release-metadata.ts'
import type { DiskDelivery } from '#core/api/person.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import type { EndpointLaunch, EnrolledEndpoint } from './enrolled-endpoint.rig.ts'
import {
  diskWorkspace,
  type ImageForTest,
  type PublishedForTest,
  publishForTest,
} from './published-release.rig.ts'
import { type RunningSite, type SignedInClient, startSite, until } from './running-site.rig.ts'
import { openDatabase, type SiteDatabase } from './site-database.rig.ts'

const run = promisify(execFile)

/** A policy under which what employees write on their endpoints becomes this. */
export function overlayPolicy(overlay: string): string {
  return `
@id("on-endpoints")
@overlay("${overlay}")
permit (principal in Group::"employees", action in [Action::"streamed-disk", Action::"local-vm"], resource)
when { context.endpoint.management.value == "managed" };
@id("hosted")
permit (principal, action == Action::"hosted-shared", resource);
@id("works")
permit (principal, action in [Action::"input", Action::"clipboard-in"], resource);
`
}

export interface ReplicatingSite extends AsyncDisposable {
  readonly site: RunningSite
  readonly database: SiteDatabase
  readonly ada: SignedInClient
  readonly release: PublishedForTest
}

/** A site whose workspace `lab` is a disk that employees write on, with a copy in the data centre. */
export async function startReplicatingSite(): Promise<ReplicatingSite> {
  await using starting = new AsyncDisposableStack()
  const folder = await mkdtemp('/var/tmp/tc-replica-')
  starting.defer(() => rm(folder, { recursive: true, force: true }))
  const site = starting.use(await startSite({ args: ['--hosts', '1', '--gateways', '1'] }))
  const database = starting.use(await openDatabase(site))
  const ada = await site.signIn('ada')
  await ada.send('PUT', '/admin/policy', { text: overlayPolicy('replicate') }, z.unknown())
  const release = await publishForTest(ada, 'office', await importDisk(folder, 'office'))
  await ada.send('PUT', '/admin/workspaces/lab', diskWorkspace('office'), z.unknown())
  const running = starting.move()
  return { site, database, ada, release, [Symbol.asyncDispose]: () => running.disposeAsync() }
}

/** Imports a disk of 32 MiB, the first of it noise and the rest zeros, by the command line. */
async function importDisk(folder: string, name: string): Promise<ImageForTest> {
  const [raw, store, keys] = ['raw', 'store', 'image-keys'].map((part) => join(folder, `${name}.${part}`))
  const disk = Buffer.alloc(32 << 20)
  randomFillSync(disk.subarray(0, 1 << 20))
  await writeFile(raw!, disk)
  const words = [
    'image',
    'import',
    raw!,
    `${name}:1`,
    '--store',
    store!,
    '--app',
    'lab=/usr/bin/lab',
    '--json',
  ]
  const { stdout } = await run(join(import.meta.dirname, '..', 'trustcast'), words, {
    env: { ...process.env, TRUSTCAST_IMAGES: keys },
  })
  const { manifest } = z.looseObject({ manifest: z.string() }).parse(JSON.parse(stdout))
  const ring = await readFile(join(keys!, `${name}.json`), 'utf8')
  return {
    manifest: await readFile(join(store!, 'blobs/sha256', manifest.slice('sha256:'.length))),
    key: Buffer.from(z.looseObject({ key: z.string() }).parse(JSON.parse(ring)).key, 'base64url'),
    store: store!,
  }
}

/** A launch as soon as the site has heard that the last use, on another endpoint, is over. */
export async function launchedAt(
  endpoint: EnrolledEndpoint,
  client: SignedInClient,
  workspaceId: string,
): Promise<EndpointLaunch> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await endpoint.launch(client, workspaceId)
    } catch (error) {
      const isOver = isCoded(error) && error.code === 'LAUNCH_ON_ENDPOINT'
      if (!isOver || attempt > 100) throw error
      await sleep(50)
    }
  }
}

export interface ReplicatedDiskOptions {
  readonly site: SiteAddress
  readonly agent: EndpointAgent
  /** Of the endpoint. */
  readonly dir: string
  /** Where it is registered and served. */
  readonly runDir: string
  readonly launched: { readonly delivery: DiskDelivery; readonly nonce: string; readonly askedAt: number }
  readonly intervalMs?: number
  readonly storeOptions?: StoreOptions
}

/** A disk that is replicated, by NBD and by its control socket. */
export interface DiskAccess {
  write(at: number, text: string): Promise<void>
  /** So many bytes. */
  read(at: number, length: number): Promise<string>
  /** Waits until the data centre has all that was written. */
  sent(): Promise<void>
  stats(): Promise<ReplicaStats | undefined>
}

export function accessTo(
  runDir: string,
  { id, name, socket }: Pick<DiskRecord, 'id' | 'name' | 'socket'>,
): DiskAccess {
  const uri = `nbd+unix:///${name}?socket=${socket}`
  const stats = async (): Promise<ReplicaStats | undefined> => (await statsOfDisk(runDir, id)).stats.replica
  return {
    write: (at, text) => writeText(uri, at, text),
    read: (at, length) => readText(uri, at, length),
    stats,
    sent: () =>
      until(async () => {
        const { copiedAt, waitingBytes } = (await stats()) ?? {}
        return copiedAt !== undefined && waitingBytes === 0
      }, 'all of it was sent'),
  }
}

/** A disk that was delivered to an endpoint of this process. */
export interface ReplicatedDisk extends DiskAccess {
  readonly served: DeliveredDisk['served']
  readonly leaseId: string
  /** What was said to the person, and what they were warned of. */
  readonly said: readonly string[]
  /** Ends its use, in good order. */
  finish(): Promise<DiskEnd>
  readonly end: Promise<DiskEnd>
}

export async function useReplicatedDisk(options: ReplicatedDiskOptions): Promise<ReplicatedDisk> {
  const { site, agent, dir, runDir, launched, intervalMs = 150, storeOptions = {} } = options
  const opened = Promise.withResolvers<DeliveredDisk>()
  const done = Promise.withResolvers<void>()
  const said: string[] = []
  const open = diskDeliverer({
    dir,
    cache: { dir: join(dir, 'chunks'), maximumBytes: 1e9 },
    memoryBytes: 67_108_864,
    storeOptions,
    fetch: releaseMetadata(site),
    replicaIntervalMs: intervalMs,
    say: (sentence) => void said.push(sentence),
    serving: { format: 'raw', runDir },
    use: async (disk) => {
      opened.resolve(disk)
      await done.promise
    },
    warn: (error) => void said.push(isCoded(error) ? `${error.code}: ${error.message}` : String(error)),
  })
  const end = launchDisk(agent, launched, open)
  end.catch(opened.reject)
  const { served } = await opened.promise
  return {
    ...accessTo(runDir, served.record),
    served,
    leaseId: launched.delivery.lease.id,
    said,
    end,
    finish: () => {
      done.resolve()
      return end
    },
  }
}

const io = (uri: string, ...commands: readonly string[]) =>
  run('qemu-io', ['-f', 'raw', ...commands.flatMap((command) => ['-c', command]), uri], {
    maxBuffer: 64 << 20,
  })

async function writeText(uri: string, at: number, text: string): Promise<void> {
  // Whole sectors of the text and zeros.
  const bytes = Buffer.alloc(Math.ceil(text.length / 512) * 512)
  bytes.write(text, 'latin1')
  const file = join('/var/tmp', `tc-pattern-${process.pid}-${at}`)
  await writeFile(file, bytes)
  try {
    const { stdout } = await io(uri, `write -s ${file} ${at} ${bytes.length}`, 'flush')
    if (!stdout.includes(`wrote ${bytes.length}/${bytes.length}`)) throw new Error(stdout)
  } finally {
    await rm(file, { force: true })
  }
}

async function readText(uri: string, at: number, length: number): Promise<string> {
  const { stdout } = await io(uri, `read -v ${at} ${Math.ceil(length / 512) * 512}`)
  const bytes = [...stdout.matchAll(/^[0-9a-f]+:  ((?:[0-9a-f]{2} )+)/gm)].map(([, hex = '']) =>
    Buffer.from(hex.replaceAll(' ', ''), 'hex'),
  )
  return Buffer.concat(bytes).toString('latin1', 0, length)
}

/** All files of a folder. */
export async function filesIn(dir: string): Promise<readonly string[]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true }).catch(() => [])
  return entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name))
}

/** What replicas take at a site, and how many pieces there are. */
export async function replicaFiles(
  state: string,
): Promise<{ readonly pieces: number; readonly bytes: number }> {
  const files = (await filesIn(join(state, 'replicas'))).filter((file) => file.includes('/pieces/'))
  const sizes = await Promise.all(files.map(async (file) => (await stat(file)).size))
  return { pieces: files.length, bytes: sizes.reduce((sum, size) => sum + size, 0) }
}
