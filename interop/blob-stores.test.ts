import { execFile } from 'node:child_process'
import { createPrivateKey, createSign, randomBytes, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type DirectoryStore, openDirectoryStore } from '#adapters/blobs-directory/index.ts'
import { openHttpLayout, openRegistry } from '#adapters/blobs-http/index.ts'
import { blobStoreContract, describeBlob, writableStoreContract } from '#core/blobs/blob-store.contract.ts'
import {
  type BlobReader,
  type BlobStore,
  decodeOciManifest,
  defaultRetries,
  digestOf,
  encodeOciManifest,
  mediaTypes,
  retried,
} from '#core/blobs/index.ts'
import { makePki, type RunningServer, startNginx, startRegistry, type TestPki } from './blob-servers.rig.ts'

const run = promisify(execFile)
const image = { name: 'debian-desktop', version: '2' }

let base: string
let pki: TestPki
let nginx: RunningServer
let registry: RunningServer
let count = 0

beforeAll(async () => {
  base = await mkdtemp(join(tmpdir(), 'blob-stores-'))
  pki = await makePki()
  nginx = await startNginx(base, pki)
  registry = await startRegistry()
})

afterAll(async () => {
  await nginx[Symbol.asyncDispose]()
  await registry[Symbol.asyncDispose]()
  await pki[Symbol.asyncDispose]()
  await rm(base, { recursive: true })
})

/** A name that no other test uses, for a folder or a prefix of the registry. */
function own(): string {
  return `t${count++}`
}

async function openFolder(name = own()): Promise<DirectoryStore> {
  return openDirectoryStore(join(base, name), { create: true })
}

function openPrefix(prefix: string): BlobStore {
  return openRegistry({ url: `http://127.0.0.1:${registry.port}`, prefix })
}

function overTls(name: string): BlobReader {
  return openHttpLayout(`https://localhost:${nginx.port}/${name}/`, { ca: pki.ca })
}

async function skopeo(...args: readonly string[]): Promise<string> {
  const { stdout } = await run('skopeo', ['--insecure-policy', ...args], {
    env: { ...process.env, no_proxy: '*' },
    maxBuffer: 1 << 24,
  })
  return stdout
}

/** Where skopeo finds the image in a folder, and in the registry. */
function layout(name: string): string {
  return `oci:${join(base, name)}:debian-desktop:2`
}

function remote(prefix: string): string {
  return `docker://127.0.0.1:${registry.port}/${prefix}/debian-desktop:2`
}

/** Copies as an administrator would: nothing said about compression or digests. */
async function copy(from: string, to: string): Promise<void> {
  await skopeo('copy', '--src-tls-verify=false', '--dest-tls-verify=false', from, to)
}

/** An image as ours are, with packs that would shrink if somebody compressed them. */
async function keepImage(store: BlobStore): Promise<Uint8Array> {
  const config = Buffer.from('{"size":1}')
  const index = randomBytes(4096)
  const packs = [Buffer.alloc(3_000_000, 'trustcast'), randomBytes(2_000_000)]
  const trace = Buffer.from('[]')
  for (const blob of [config, index, trace, ...packs]) await store.put(digestOf(blob), blob)
  const manifest = encodeOciManifest({
    artifactType: mediaTypes.image,
    config: describeBlob(config, mediaTypes.image),
    layers: [
      describeBlob(index, mediaTypes.chunkIndex),
      ...packs.map((pack) => describeBlob(pack, mediaTypes.pack)),
      describeBlob(trace, mediaTypes.trace),
    ],
    annotations: { 'org.opencontainers.image.title': 'desktop' },
  })
  await store.tag(image, manifest)
  return manifest
}

/** Every byte of the image is there under its digest, and the manifest is the one that was made. */
async function expectWhole(reader: BlobReader, manifest: Uint8Array): Promise<void> {
  expect(await reader.references()).toEqual([image])
  const found = (await reader.manifest(image))!
  expect(Buffer.from(found).toString()).toBe(Buffer.from(manifest).toString())
  const { config, layers } = decodeOciManifest(found)
  for (const { digest, size } of [config, ...layers]) {
    expect(digestOf(await reader.read(digest, 0, size))).toBe(digest)
    const half = Math.floor(size / 2)
    const parts = await Promise.all([reader.read(digest, 0, half), reader.read(digest, half, size - half)])
    expect(digestOf(Buffer.concat(parts))).toBe(digest)
  }
}

blobStoreContract('nginx over TLS', async () => {
  const name = own()
  const store = await openFolder(name)
  const reader = overTls(name)
  return {
    store,
    reader,
    async [Symbol.asyncDispose]() {
      await reader[Symbol.asyncDispose]()
      await store[Symbol.asyncDispose]()
    },
  }
})

async function openTwice() {
  const prefix = `images/${own()}`
  const store = openPrefix(prefix)
  const reader = openPrefix(prefix)
  return {
    store,
    reader,
    async [Symbol.asyncDispose]() {
      await reader[Symbol.asyncDispose]()
      await store[Symbol.asyncDispose]()
    },
  }
}

blobStoreContract('docker-registry', openTwice)
writableStoreContract('docker-registry', openTwice)

describe('skopeo carries images between stores without harm', () => {
  let source: string
  let manifest: Uint8Array

  beforeEach(async () => {
    source = own()
    await using store = await openFolder(source)
    manifest = await keepImage(store)
  })

  test('skopeo inspects what we wrote', async () => {
    expect(await skopeo('inspect', '--raw', layout(source))).toBe(Buffer.from(manifest).toString())
    const prefix = own()
    await using store = openPrefix(prefix)
    const kept = await keepImage(store)
    expect(await skopeo('inspect', '--tls-verify=false', '--raw', remote(prefix))).toBe(
      Buffer.from(kept).toString(),
    )
    const listed = await skopeo(
      'list-tags',
      '--tls-verify=false',
      `docker://127.0.0.1:${registry.port}/${prefix}/debian-desktop`,
    )
    expect(JSON.parse(listed)).toMatchObject({ Tags: ['2'] })
  })

  test('from folder to folder', async () => {
    const target = own()
    await copy(layout(source), layout(target))
    await using reader = await openDirectoryStore(join(base, target))
    await expectWhole(reader, manifest)
  })

  test('into a folder that we began, beside an image of ours, and we go on there', async () => {
    const target = own()
    await using store = await openFolder(target)
    await keepImage(store)
    await store.untag(image)
    await store.tag({ name: 'kiosk', version: '1' }, await keepImage(store))
    await store.untag(image)
    await copy(layout(source), layout(target))
    expect(await store.references()).toContainEqual({ name: 'kiosk', version: '1' })
    await store.untag({ name: 'kiosk', version: '1' })
    await store.collect({ graceMs: 0, now: Date.now() + 1000 })
    await expectWhole(store, manifest)
  })

  test('from folder to registry, and back into another folder', async () => {
    const prefix = own()
    await copy(layout(source), remote(prefix))
    await using reader = openPrefix(prefix)
    await expectWhole(reader, manifest)
    // One that was not asked for the manifest finds the blobs all the same.
    await using stranger = openPrefix(prefix)
    const { layers } = decodeOciManifest(manifest)
    expect(digestOf(await stranger.read(layers[1]!.digest, 0, layers[1]!.size))).toBe(layers[1]!.digest)
    const target = own()
    await copy(remote(prefix), layout(target))
    await using folder = await openDirectoryStore(join(base, target))
    await expectWhole(folder, manifest)
    await using web = overTls(target)
    await expectWhole(web, manifest)
  })

  test('from our registry to a folder', async () => {
    const prefix = own()
    await using store = openPrefix(prefix)
    const kept = await keepImage(store)
    await expectWhole(store, kept)
    const target = own()
    await copy(remote(prefix), layout(target))
    await using folder = await openDirectoryStore(join(base, target))
    await expectWhole(folder, kept)
  })
})

describe('a registry', () => {
  test('does not take a name away that another name shares its image with', async () => {
    await using store = openPrefix(own())
    const manifest = await keepImage(store)
    await store.tag({ name: image.name, version: '3' }, manifest)
    await expect(store.untag(image)).rejects.toMatchObject({
      code: 'BLOB_BAD_STORE',
      remedy: expect.any(String),
    })
    expect(await store.references()).toHaveLength(2)
  })

  test('that deletes nothing says what to set', async () => {
    await using server = await startRegistry({
      storage: { filesystem: { rootdirectory: join(base, own()) } },
    } as object)
    await using store = openRegistry({ url: `http://127.0.0.1:${server.port}`, prefix: '' })
    await keepImage(store)
    await expect(store.untag(image)).rejects.toMatchObject({
      code: 'BLOB_DENIED',
      remedy: expect.any(String),
    })
  })

  test('lists more images than fit on one page', async () => {
    const prefix = own()
    await using store = openPrefix(prefix)
    const config = Buffer.from('{}')
    await store.put(digestOf(config), config)
    const manifest = encodeOciManifest({ config: describeBlob(config, mediaTypes.image), layers: [] })
    await Promise.all(
      Array.from({ length: 120 }, (_, index) =>
        store.tag({ name: `image-${index}`, version: '1' }, manifest),
      ),
    )
    expect(await store.references()).toHaveLength(120)
  })

  test('over TLS with a password: without it BLOB_DENIED, with it whole', async () => {
    const tls = { certificate: pki.server.cert, key: pki.server.key }
    const htpasswd = join(base, own())
    await writeFile(htpasswd, `reader:${bcryptOfSecret}\n`)
    await using server = await startRegistry({
      http: { tls },
      auth: { htpasswd: { realm: 'images', path: htpasswd } },
    })
    const address = { url: `https://localhost:${server.port}`, prefix: 'p' }
    const right = { user: 'reader', password: 'secret' }
    await using store = openRegistry(address, { ca: pki.ca, credentials: right })
    const manifest = await keepImage(store)
    await expectWhole(store, manifest)
    for (const credentials of [undefined, { user: 'reader', password: 'Secret' }]) {
      await using stranger = openRegistry(address, { ca: pki.ca, ...(credentials && { credentials }) })
      await expect(stranger.manifest(image)).rejects.toMatchObject({ code: 'BLOB_DENIED' })
      await expect(stranger.references()).rejects.toMatchObject({ code: 'BLOB_BAD_STORE' })
    }
    expect(store.name).toBe(`oci://localhost:${server.port}/p`)
  })

  test('with tokens: each for its scope, fetched once and again when it has ended', async () => {
    await using tokens = await tokenServer()
    await using server = await startRegistry({
      http: { tls: { certificate: pki.server.cert, key: pki.server.key } },
      auth: {
        token: {
          realm: tokens.realm,
          service: 'images',
          issuer: 'test',
          rootcertbundle: join(pki.folder, 'ca.pem'),
        },
      },
    })
    const address = { url: `https://localhost:${server.port}`, prefix: 'p' }
    const credentials = { user: 'reader', password: 'secret' }
    await using store = openRegistry(address, { ca: pki.ca, credentials })
    const manifest = await keepImage(store)
    await expectWhole(store, manifest)
    const asked = tokens.asked.length
    expect(new Set(tokens.asked).size).toBe(asked)
    expect(tokens.asked).toContain('repository:p/debian-desktop:pull')
    tokens.lifeSeconds = 0
    await using shortLived = openRegistry(address, { ca: pki.ca, credentials })
    await shortLived.manifest(image)
    await shortLived.manifest(image)
    expect(tokens.asked.length).toBe(asked + 2)
    await using stranger = openRegistry(address, { ca: pki.ca })
    await expect(stranger.manifest(image)).rejects.toMatchObject({ code: 'BLOB_DENIED' })
  })

  test('that keeps its blobs on another server: the redirect is followed, without credentials', async () => {
    const data = join(base, own())
    await mkdir(data)
    await using web = await startNginx(data, pki)
    await using server = await startRegistry(
      {
        middleware: {
          storage: [{ name: 'redirect', options: { baseurl: `https://localhost:${web.port}/` } }],
        },
      },
      data,
    )
    await using store = openRegistry({ url: `http://127.0.0.1:${server.port}`, prefix: 'p' }, { ca: pki.ca })
    const manifest = await keepImage(store)
    const { layers } = decodeOciManifest(manifest)
    const response = await fetch(
      `http://127.0.0.1:${server.port}/v2/p/debian-desktop/blobs/${layers[1]!.digest}`,
      { redirect: 'manual' },
    )
    expect(response.status).toBe(307)
    await expectWhole(store, manifest)
  })

  test('that is gone for a while only delays', async () => {
    const data = join(base, own())
    await using server = await startRegistry({}, data)
    await using store = openRegistry({ url: `http://127.0.0.1:${server.port}`, prefix: '' })
    const manifest = await keepImage(store)
    const { layers } = decodeOciManifest(manifest)
    const { digest, size } = layers[1]!
    await server.kill()
    await expect(store.read(digest, 0, size)).rejects.toMatchObject({ code: 'BLOB_UNAVAILABLE' })
    const patient = retried(store, {
      ...defaultRetries,
      sleep: (milliseconds) => sleep(milliseconds / 4),
      random: Math.random,
    })
    const reading = patient.read(digest, 0, size)
    await sleep(300)
    await server.start()
    expect(digestOf(await reading)).toBe(digest)
  })
})

describe('nginx', () => {
  test('is believed by the authority that was given, and by no other', async () => {
    const name = own()
    await using store = await openFolder(name)
    const manifest = await keepImage(store)
    await using reader = overTls(name)
    await expectWhole(reader, manifest)
    await using other = await makePki()
    for (const options of [{}, { ca: other.ca }]) {
      await using deceived = openHttpLayout(`https://localhost:${nginx.port}/${name}/`, options)
      await expect(deceived.manifest(image)).rejects.toMatchObject({
        code: 'BLOB_BAD_STORE',
        remedy: expect.any(String),
      })
    }
  })

  test('whose certificate has ended is to have it renewed, if this computer has the right time', async () => {
    const openssl = (...words: readonly string[]) => run('openssl', words, { cwd: pki.folder })
    await openssl('req', '-new', '-key', pki.server.key, '-subj', '/CN=server', '-out', 'ended.csr')
    const issuer = ['-CA', 'ca.pem', '-CAkey', 'ca.key']
    await openssl('x509', '-req', '-in', 'ended.csr', ...issuer, '-days', '-1', '-out', 'ended.pem')
    const server = { ...pki.server, cert: join(pki.folder, 'ended.pem') }
    await using late = await startNginx(base, { ...pki, server })
    await using reader = openHttpLayout(`https://localhost:${late.port}/`, { ca: pki.ca })
    await expect(reader.manifest(image)).rejects.toMatchObject({
      code: 'BLOB_BAD_STORE',
      remedy: expect.stringMatching(/clock.*renewed/),
    })
  })

  test('that asks for a client certificate gets it', async () => {
    const name = own()
    await using store = await openFolder(name)
    const manifest = await keepImage(store)
    await using server = await startNginx(base, pki, { clients: true })
    const url = `https://localhost:${server.port}/${name}/`
    await using reader = openHttpLayout(url, { ca: pki.ca, identity: pki.client })
    await expectWhole(reader, manifest)
    await using nobody = openHttpLayout(url, { ca: pki.ca })
    await expect(nobody.manifest(image)).rejects.toMatchObject({ code: 'BLOB_DENIED' })
  })

  test('that was restarted is asked again at once, over new connections', async () => {
    const name = own()
    await using store = await openFolder(name)
    const manifest = await keepImage(store)
    const { layers } = decodeOciManifest(manifest)
    const { digest } = layers[2]!
    await using server = await startNginx(base, pki)
    await using reader = openHttpLayout(`https://localhost:${server.port}/${name}/`, { ca: pki.ca })
    const readMany = () =>
      Promise.all(Array.from({ length: 40 }, (_, at) => reader.read(digest, at * 100, 50_000)))
    await readMany()
    await server.kill()
    await server.start()
    expect(await readMany()).toHaveLength(40)
  })

  test('that shows no layout there is BLOB_BAD_STORE', async () => {
    await using reader = overTls('nothing-here')
    await expect(reader.references()).rejects.toMatchObject({
      code: 'BLOB_BAD_STORE',
      remedy: expect.any(String),
    })
  })
})

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

/** Of cost 4, the least. */
const bcryptOfSecret = '$2y$04$rVSEKD.yjpf7z3A4AaR01up/4xw3LQq2VoirsaENVjPs1GSuEDQqy'

/** A token server as registries expect it; signs with the key that the registry is told to believe. */
async function tokenServer() {
  const asked: string[] = []
  const key = createPrivateKey(await readFile(join(pki.folder, 'ca.key')))
  const x5c = [new X509Certificate(pki.ca).raw.toString('base64')]
  const state = { lifeSeconds: 300 }
  const server = createServer((request, response) => {
    const { searchParams } = new URL(request.url ?? '', 'http://localhost')
    const scopes = searchParams.getAll('scope')
    asked.push(scopes.join(' '))
    if (request.headers.authorization !== `Basic ${Buffer.from('reader:secret').toString('base64')}`) {
      response.writeHead(401).end()
      return
    }
    const now = Math.floor(Date.now() / 1000)
    const access = scopes.map((scope) => {
      const [type, name, actions = ''] = scope.split(':')
      return { type, name, actions: actions.split(',') }
    })
    const claims = {
      iss: 'test',
      sub: 'reader',
      aud: searchParams.get('service'),
      exp: now + 300,
      nbf: now - 10,
      iat: now,
      jti: String(asked.length),
      access,
    }
    const signed = `${encode({ typ: 'JWT', alg: 'ES256', x5c })}.${encode(claims)}`
    const signature = createSign('sha256').update(signed).sign({ key, dsaEncoding: 'ieee-p1363' })
    response.end(
      JSON.stringify({
        token: `${signed}.${signature.toString('base64url')}`,
        expires_in: state.lifeSeconds,
      }),
    )
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    asked,
    realm: `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`,
    set lifeSeconds(seconds: number) {
      state.lifeSeconds = seconds
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
