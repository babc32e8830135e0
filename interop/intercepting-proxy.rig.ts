import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, createSecureContext, createServer, type SecureContext, type TLSSocket } from 'node:tls'
import { callbackify } from 'node:util'
import {
  type Authority,
  createAuthority,
  createIdentityKey,
  issueLeaf,
  type TlsIdentity,
} from '#adapters/pki-x509/index.ts'

/** Somebody who ends TLS on the way, as proxies of companies and of their attackers do. */
export interface InterceptingProxy extends AsyncDisposable {
  readonly port: number
  /** File with its authority, PEM: for those who trust it. */
  readonly caFile: string
  readonly rootPem: string
  /** What it has read of what passes: first lines of requests. */
  readonly read: readonly string[]
}

/**
 * Starts a proxy before one port of this machine's loopback. It makes a certificate for whatever name is asked for, under its own
 * authority, and passes everything on.
 *
 * @param options.from address that it shows upstream
 */
export async function startInterceptingProxy(options: {
  readonly port: number
  readonly from?: string
}): Promise<InterceptingProxy> {
  const folder = await mkdtemp(join(tmpdir(), 'tc-proxy-'))
  const authority = await createAuthority({
    dir: join(folder, 'authority'),
    siteName: 'Proxy',
    now: Date.now(),
  })
  const caFile = join(folder, 'proxy-ca.pem')
  await writeFile(caFile, authority.rootPem)
  const leaves = new Map<string, TlsIdentity>()
  const read: string[] = []
  const first = await leafFor(authority, 'localhost')
  const server = createServer({
    cert: first.chainPem,
    key: first.privateKeyPem,
    SNICallback: callbackify((name: string) => contextFor(name, leaves, authority)),
  })
  server.on('secureConnection', (client) => pass(client, options, read))
  server.on('tlsClientError', () => undefined)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    caFile,
    rootPem: authority.rootPem,
    read,
    [Symbol.asyncDispose]: async () => {
      server.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** A certificate for whatever name is asked for, made on the fly and kept. */
async function contextFor(
  name: string,
  leaves: Map<string, TlsIdentity>,
  authority: Authority,
): Promise<SecureContext> {
  const leaf = leaves.get(name) ?? (await leafFor(authority, name))
  leaves.set(name, leaf)
  return createSecureContext({ cert: leaf.chainPem, key: leaf.privateKeyPem })
}

function pass(
  client: TLSSocket,
  { port, from }: { readonly port: number; readonly from?: string },
  read: string[],
): void {
  const upstream = connect({
    host: '127.0.0.1',
    port,
    servername: 'localhost',
    // Whoever sits in the middle does not care who is behind it.
    rejectUnauthorized: false,
    ...(from === undefined ? {} : { localAddress: from }),
  })
  client.on('data', (data: Buffer) => {
    const [line = ''] = data.toString('latin1').split('\r\n')
    if (/^[A-Z]+ \/.* HTTP\/1\.1$/.test(line)) read.push(line)
  })
  client.pipe(upstream).pipe(client)
  client.on('error', () => upstream.destroy()).on('close', () => upstream.destroy())
  upstream.on('error', () => client.destroy()).on('close', () => client.destroy())
}

async function leafFor(authority: Authority, name: string): Promise<TlsIdentity> {
  const { publicKey, privateKeyPem } = await createIdentityKey()
  const order = {
    publicKey,
    role: 'gateway',
    id: 'proxy',
    usages: 'server',
    dnsNames: [name],
    lifetimeMs: 3_600_000,
    now: Date.now(),
  } as const
  return { chainPem: (await issueLeaf(authority, order)).chainPem, privateKeyPem }
}
