import { type PublishedForTest, publishForTest, publishNextForTest } from './published-release.rig.ts'
import { type SignedInClient, startSite } from './running-site.rig.ts'
import { openDatabase, type SiteDatabase } from './site-database.rig.ts'

/** A site with an image, office, of which a few releases are published. */
export interface ReleasedSite extends AsyncDisposable {
  readonly database: SiteDatabase
  readonly ada: SignedInClient
  readonly office: PublishedForTest
}

/** @param more versions beside the first, which is the one for production */
export async function startReleasedSite(more: readonly string[]): Promise<ReleasedSite> {
  await using undo = new AsyncDisposableStack()
  const site = undo.use(await startSite())
  const database = undo.use(await openDatabase(site))
  const ada = await site.signIn('ada')
  const office = await publishForTest(ada, 'office')
  for (const version of more) await publishNextForTest(ada, office, version)
  const held = undo.move()
  return { database, ada, office, [Symbol.asyncDispose]: () => held.disposeAsync() }
}
