import { spawn } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parse, stringify } from 'yaml'
import type { SiteConfig } from '#apps/site/config.ts'
import { pidsMatching, type RunningSite, signIn, until } from './running-site.rig.ts'

/** Another node of a site that runs. */
export interface SecondNode extends AsyncDisposable {
  readonly url: string
  /** Where agents reach it. */
  readonly agentUrl: string
  readonly ca: string
}

export async function startSecondNode(site: RunningSite): Promise<SecondNode> {
  // Beyond the ports of the first: people, agents.
  const port = site.port + 4
  const url = `https://localhost:${port}`
  const ca = site.address.ca ?? ''
  const first = parse(await readFile(join(site.state, 'site.yaml'), 'utf8')) as SiteConfig
  const file = join(site.state, 'site-2.yaml')
  const agents = { ...first.agents, port: port + 1 }
  await writeFile(file, stringify({ ...first, url, listen: { ...first.listen, port }, agents }))
  const node = spawn(join(import.meta.dirname, '../trustcast'), ['site', '--config', file], {
    stdio: 'ignore',
  })
  const serves = (): Promise<boolean> =>
    signIn({ url, ca }, 'olaf').then(
      () => true,
      () => false,
    )
  await until(serves, 'the second node serves')
  return {
    url,
    agentUrl: `https://localhost:${port + 1}`,
    ca,
    [Symbol.asyncDispose]: async () => {
      node.kill('SIGTERM')
      await until(async () => (await pidsMatching(file)).length === 0, 'the second node has ended')
    },
  }
}
