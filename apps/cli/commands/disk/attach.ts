import { createPrivateKey, X509Certificate } from 'node:crypto'
import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import type { ParseArgsOptionsConfig } from 'node:util'
import { activatedDescriptors, standardStreams } from '#adapters/nbd-server/index.ts'
import { type OpenDisk, type OverlayMode, openDisk } from '#apps/endpoint/disk/open-disk.ts'
import type { DiskRecord } from '#apps/endpoint/disk/record.ts'
import { runDirectory } from '#apps/endpoint/disk/run-dir.ts'
import { type ServeDiskOptions, serveDisk } from '#apps/endpoint/disk/serve-disk.ts'
import { imageKey, madeHere } from '#apps/images/key-ring.ts'
import { trustedDigest } from '#apps/images/trusted-image.ts'
import { parseDigest, parseReference } from '#core/blobs/index.ts'
import { CliError, usage } from '../../cli-error.ts'
import { type Command, type Output, type Parsed, parse } from '../../command.ts'
import type { CacheWords } from '../../deliver-here.ts'
import { warn } from '../../error-text.ts'
import { readCertificates, readText } from '../../read-text.ts'
import { parseSize, sizeText, storeAddress, storeOptions, storeWords } from '../image/store-options.ts'

const options: ParseArgsOptionsConfig = {
  ...storeWords,
  store: { type: 'string', multiple: true },
  manifest: { type: 'string' },
  socket: { type: 'string' },
  listen: { type: 'string' },
  stdio: { type: 'boolean' },
  'tls-cert': { type: 'string' },
  'tls-key': { type: 'string' },
  'tls-ca': { type: 'string' },
  overlay: { type: 'string' },
  format: { type: 'string' },
  mount: { type: 'string' },
  partition: { type: 'string' },
  'read-only': { type: 'boolean' },
  cache: { type: 'string' },
  'cache-size': { type: 'string' },
  memory: { type: 'string' },
  record: { type: 'string' },
}

export const attachCommand: Command = {
  synopsis:
    'attach NAME[:VERSION] [--mount DIR [--partition N]] [--overlay discard|keep | --read-only] [--format raw|vhd] [--socket PATH] [--listen ADDRESS:PORT --tls-cert FILE --tls-key FILE [--tls-ca FILE]] [--stdio] [--store FOLDER|URL]… [--store-ca FILE] [--manifest DIGEST] [--cache DIR] [--cache-size SIZE] [--memory SIZE] [--record FILE]',
  summary:
    'Serve an image as a disk by NBD while it streams, every block verified, and mount it: one that was imported by this account, or the release that the site delivers to this endpoint under a lease. What is written goes to an overlay: forgotten at the end, or kept for the next time; for a release the site decides about that and about stores. Runs until Ctrl-C or `trustcast disk detach`.',
  run: async (args, out) => {
    const words = parse(args, options, [1, 1])
    const serving = await servingOf(words)
    const name = words.positionals[0] ?? ''
    // On standard output is NBD then.
    const isSilent = serving.stream !== undefined
    const say = (record: DiskRecord): void => {
      if (!isSilent) out.result(record, () => inWords(record))
    }
    if (!(await isKnownHere(name, words))) {
      const how = { ...deliveredWords(words), serving, storeOptions: await storeOptions(words) }
      const { attachDelivered } = await import('./attach-delivered.ts')
      await attachDelivered(name, how, ({ served }) => say(served.record), out)
      return
    }
    const opened = await open(words)
    const disk = await serveDisk({
      ...serving,
      signal: out.signal,
      device: opened.device,
      name: opened.name,
      description: opened.description,
      stats: () => opened.stats(),
      onDetach: async () => opened[Symbol.asyncDispose](),
      warn,
    })
    await opened.pin()
    say(disk.record)
    const { lazily } = await disk.ended
    if (!isSilent) sayEnd(out, lazily)
  },
}

/** Whether this account knows by itself what the image must be; otherwise a site is asked, which knows the version. */
async function isKnownHere(name: string, words: Parsed): Promise<boolean> {
  // A store is named by whoever means an image of their own, if only to be told that it is not.
  if (words.text('manifest') !== undefined || words.list('store').length > 0) return true
  return name.includes(':') && (await madeHere(parseReference(name))) !== undefined
}

/** What a person chooses about a disk that a site delivers. @throws {CliError} USAGE for what the site decides */
function deliveredWords(words: Parsed): CacheWords & { readonly readOnly: boolean } {
  for (const name of ['overlay', 'record']) {
    if (words.text(name) !== undefined) throw usage(`--${name} is decided by the site for a delivered disk`)
  }
  const [dir, size, memory] = ['cache', 'cache-size', 'memory'].map((name) => words.text(name))
  return {
    readOnly: words.flag('read-only'),
    cache: {
      ...(dir !== undefined && { dir: resolve(dir) }),
      ...(size !== undefined && { maximumBytes: parseSize(size, '--cache-size') }),
    },
    ...(memory !== undefined && { memoryBytes: parseSize(memory, '--memory') }),
  }
}

type Serving = Omit<ServeDiskOptions, 'device' | 'name' | 'description' | 'stats' | 'onDetach' | 'warn'>

/** @throws {CliError} USAGE */
async function servingOf(words: Parsed): Promise<Serving> {
  const format = words.text('format') ?? 'raw'
  if (format !== 'raw' && format !== 'vhd') throw usage('--format is raw or vhd')
  const [socket, listen, dir] = [words.text('socket'), words.text('listen'), words.text('mount')]
  const tls = await tlsOf(words)
  if (listen !== undefined && !tls) throw usage('--listen needs --tls-cert and --tls-key')
  const partition = words.text('partition')
  if (partition !== undefined && (dir === undefined || !/^[1-9]\d{0,3}$/.test(partition))) {
    throw usage('--partition takes a number, and belongs to --mount')
  }
  const descriptors = activatedDescriptors(process.env, process.pid)
  return {
    format,
    descriptors,
    runDir: runDirectory(process.env, process.getuid?.()),
    ...(socket !== undefined && { socket: resolve(socket) }),
    ...(listen !== undefined && { tcp: parseAddress(listen) }),
    ...(tls && { tls }),
    ...(words.flag('stdio') && { stream: standardStreams() }),
    ...(dir !== undefined && {
      mount: {
        dir: resolve(dir),
        readOnly: words.flag('read-only'),
        ...(partition !== undefined && { partition: Number(partition) }),
      },
    }),
  }
}

async function tlsOf(words: Parsed): Promise<ServeDiskOptions['tls']> {
  const [certificate, key, ca] = ['tls-cert', 'tls-key', 'tls-ca'].map((name) => words.text(name))
  if (certificate === undefined && key === undefined && ca === undefined) return undefined
  if (certificate === undefined || key === undefined) throw usage('--tls-cert and --tls-key belong together')
  // Loaded by those who need it only: a disk should be there at once.
  const { serverTls } = await import('#adapters/pki-x509/index.ts')
  const identity = { chainPem: await readCertificates(certificate), privateKeyPem: await readText(key) }
  if (!isKeyOf(identity))
    throw new CliError('CLI_NO_CERTIFICATE', `${key} does not hold the key of ${certificate}`, {
      remedy: 'Name the private key that belongs to the certificate, in PEM and without a passphrase.',
    })
  const tls = serverTls(identity, ca === undefined ? undefined : await readCertificates(ca))
  return () => tls
}

function isKeyOf({ chainPem, privateKeyPem }: { chainPem: string; privateKeyPem: string }): boolean {
  try {
    return new X509Certificate(chainPem).checkPrivateKey(createPrivateKey(privateKeyPem))
  } catch {
    return false
  }
}

async function open(words: Parsed): Promise<OpenDisk> {
  const reference = parseReference(words.positionals[0] ?? '')
  const named = words.text('manifest')
  const [first = storeAddress(words), ...others] = words.list('store')
  const key = await imageKey(reference.name)
  const record = words.text('record')
  // Found at the end only, all that was recorded would be lost.
  if (record !== undefined) await access(dirname(resolve(record)), constants.W_OK)
  try {
    return await openDisk({
      reference,
      manifestDigest: await trustedDigest(reference, named === undefined ? undefined : parseDigest(named)),
      stores: [first, ...others],
      storeOptions: await storeOptions(words),
      key,
      cache: {
        dir: resolve(words.text('cache') ?? join(cacheHome(), 'trustcast', 'chunks')),
        maximumBytes: parseSize(words.text('cache-size') ?? '10G', '--cache-size'),
      },
      memoryBytes: parseSize(words.text('memory') ?? '128M', '--memory'),
      overlay: overlayOf(words),
      overlayDir: join(dataHome(), 'trustcast', 'overlays'),
      ...(record !== undefined && { record: resolve(record) }),
      warn,
    })
  } finally {
    key.fill(0)
  }
}

function overlayOf(words: Parsed): OverlayMode {
  const overlay = words.text('overlay')
  if (words.flag('read-only')) {
    if (overlay !== undefined) throw usage('--overlay and --read-only exclude each other')
    return 'read-only'
  }
  if (overlay === undefined || overlay === 'discard' || overlay === 'keep') return overlay ?? 'discard'
  throw usage('--overlay is discard or keep')
}

/** `127.0.0.1:10809`, `[::1]:10809`. */
function parseAddress(text: string): { readonly address: string; readonly port: number } {
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text) ?? []
  const address = bracketed ?? plain
  if (address === undefined || Number(port) > 65_535) throw usage('--listen takes ADDRESS:PORT')
  return { address, port: Number(port) }
}

function cacheHome(): string {
  return process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache')
}

function dataHome(): string {
  return process.env['XDG_DATA_HOME'] ?? join(homedir(), '.local', 'share')
}

function inWords({ id, name, sizeBytes, socket, tcp, mount }: DiskRecord): string {
  return [
    `Attached ${name} (${sizeText(sizeBytes)}) as ${id}.`,
    `nbd+unix:///?socket=${encodeURI(socket)}`,
    ...(tcp ? [`nbds://${tcp.address.includes(':') ? `[${tcp.address}]` : tcp.address}:${tcp.port}`] : []),
    ...(mount
      ? [`Mounted at ${mount.dir} (${mount.filesystem}${mount.readOnly ? ', read-only' : ''}).`]
      : []),
    'Ctrl-C detaches it.',
  ].join('\n')
}

function sayEnd(out: Output, lazily: boolean): void {
  out.say(lazily ? 'Detached. Programs still had it; what they wrote last may be lost.' : 'Detached.')
}
