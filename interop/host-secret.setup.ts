import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Endpoints of tests have a machine secret of their own, and leave none on the machine. */
export default async function setup(): Promise<() => Promise<void>> {
  const dir = await mkdtemp(join(tmpdir(), 'tc-host-secret-'))
  process.env['TRUSTCAST_HOST_SECRET'] = join(dir, 'host-secret')
  return () => rm(dir, { recursive: true, force: true })
}
