import { activePolicy, alone, readZones } from '#adapters/store-postgres/index.ts'
import type { AuditActor } from '#core/audit/leaf.ts'
import { defaultPolicy } from '#core/policy/index.ts'
import { activatePolicy, changeZones } from './people/administering.ts'
import { createSetupToken } from './people/signing-in.ts'
import type { Site } from './site.ts'

const actor: AuditActor = { type: 'system', id: 'first-start' }

/** Gives a new site a policy to refuse by, and one zone: the machine itself. What is there stays. */
export async function furnish(site: Site): Promise<void> {
  const { db } = site.store
  // Nodes that start together would each find nothing.
  await alone(db, 'first start', async () => {
    if ((await activePolicy(db)) === undefined) await activatePolicy(site, defaultPolicy, 'default', actor)
    if ((await readZones(db)) === undefined) {
      await changeZones(
        site,
        [{ name: 'this-machine', kind: 'inside', networks: ['127.0.0.0/8', '::1/128'] }],
        actor,
      )
    }
  })
}

/** @returns where the first admin is created, once; undefined when there is one */
export async function setupLink(site: Site): Promise<string | undefined> {
  const token = await createSetupToken(site.store, site.now())
  return token === undefined ? undefined : `${site.config.url}/setup#token=${token}`
}
