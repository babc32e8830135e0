import { createPublicKey } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sql } from 'kysely'
import { pino } from 'pino'
import { issueLeaf } from '#adapters/pki-x509/index.ts'
import { type AgentRow, agentById, openStore, type Store } from '#adapters/store-postgres/index.ts'
import { type SoftwareTpm, startSoftwareTpm } from '#adapters/tpm/swtpm.rig.ts'
import { writeIdentity } from '#apps/agent-client/agent-identity.ts'
import { type AgentIdentity, enrolAgent, type TpmChoice } from '#apps/agent-client/index.ts'
import { readText } from '#apps/cli/read-text.ts'
import { siteConfig } from '#apps/site/config.ts'
import { openSite } from '#apps/site/open-site.ts'
import type { Site } from '#apps/site/site.ts'
import { tokenAnswer } from '#core/api/admin.ts'
import { type EndpointView, endpointsAnswer } from '#core/api/lease.ts'
import { parseConfig } from '#core/config/parse-config.ts'
import { type RunningSite, type SignedInClient, startSite } from './running-site.rig.ts'

/** A site that trusts the authority of one TPM, with that TPM; and a node's view of the site, for what has no route. */
export interface TpmSite extends AsyncDisposable {
  readonly site: RunningSite
  readonly node: Site
  readonly admin: SignedInClient
  readonly tpm: SoftwareTpm
  /** A folder that is gone afterwards. */
  readonly dir: string
  token(name: string): Promise<string>
  enrol(name: string, tpm: TpmChoice): Promise<{ readonly dir: string; readonly identity: AgentIdentity }>
  row(id: string): Promise<AgentRow>
  view(id: string): Promise<EndpointView>
}

export async function startTpmSite(): Promise<TpmSite> {
  await using undo = new AsyncDisposableStack()
  const dir = await mkdtemp(join(tmpdir(), 'tc-device-keys-'))
  undo.defer(() => rm(dir, { recursive: true, force: true }))
  const tpm = undo.use(await startSoftwareTpm())
  const authority = join(dir, 'tpm-authority.pem')
  await writeFile(authority, tpm.authority)
  const site = undo.use(
    await startSite({ args: ['--hosts', '1', '--gateways', '1', '--tpm-authority', authority] }),
  )
  const stop = new AbortController()
  const store = undo.adopt(storeOf(site), (one) => one.close())
  undo.defer(() => stop.abort())
  const config = parseConfig(await readText(join(site.state, 'site.yaml')), siteConfig, 'site.yaml')
  const node = await openSite(config, store, pino({ level: 'silent' }), stop.signal)
  const admin = await site.signIn('ada')
  const token = async (name: string): Promise<string> =>
    (await admin.send('POST', '/admin/enrolment-tokens', { kind: 'endpoint', name }, tokenAnswer)).token
  const all = undo.move()
  return {
    site,
    node,
    admin,
    tpm,
    dir,
    token,
    enrol: async (name, choice) => {
      const at = join(dir, name)
      const wish = {
        url: site.url,
        token: await token(name),
        dir: at,
        kind: 'endpoint',
        tpm: choice,
      } as const
      return { dir: at, identity: await enrolAgent(wish) }
    },
    row: async (id) => {
      const row = await agentById(store.db, id)
      if (row === undefined) throw new Error(`there is no ${id}`)
      return row
    },
    view: async (id) => {
      const { endpoints } = await admin.get('/endpoints', endpointsAnswer)
      const view = endpoints.find((one) => one.id === id)
      if (view === undefined) throw new Error(`no endpoint ${id} is shown`)
      return view
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  }
}

const dayMs = 86_400_000

/** As if an enrolled machine had been off: its last certificate ended so many days ago, in its folder and for the site. */
export async function wasOff(
  { node: { authority, store } }: TpmSite,
  { dir, identity }: { readonly dir: string; readonly identity: AgentIdentity },
  days: number,
): Promise<AgentIdentity> {
  const { id, privateKeyPem } = identity
  const key = createPublicKey(privateKeyPem).export({ format: 'der', type: 'spki' })
  const now = Date.now() - (days + 1) * dayMs
  const order = { role: 'endpoint', id, usages: 'client', lifetimeMs: dayMs, now } as const
  const leaf = await issueLeaf(authority, { ...order, publicKey: new Uint8Array(key) })
  const expired = { ...identity, chainPem: leaf.chainPem }
  await writeIdentity(dir, expired)
  const ago = sql<Date>`expires_at - make_interval(days => ${days + 1})`
  await store.db.updateTable('endpoint_keys').set({ expires_at: ago }).where('endpoint_id', '=', id).execute()
  return expired
}

function storeOf(site: RunningSite): Store {
  return openStore({
    host: join(site.state, 'postgres-run'),
    port: 5432,
    user: 'trustcast',
    database: 'trustcast',
  })
}
