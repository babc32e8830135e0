import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ReleaseFetch } from '#adapters/releases-tuf/index.ts'
import type { SandboxRequest } from '#adapters/sandbox-bubblewrap/index.ts'
import { type DeliverOptions, diskDeliverer } from '#apps/endpoint/deliver-disk.ts'
import type { EndpointAgent } from '#apps/endpoint/endpoint-agent.ts'
import { launchDisk } from '#apps/endpoint/launch-disk.ts'
import type { DiskDelivery } from '#core/api/person.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import { ApiRefusal, call, type SiteAddress } from './api-client.ts'
import { CliError } from './cli-error.ts'
import type { Output } from './command.ts'
import type { Launched } from './launch-here.ts'
import { endpointDir } from './this-endpoint.ts'

const memoryBytes = 134_217_728
const cacheBytes = 10_737_418_240

/** What commands differ in that use a delivered disk. */
export interface DiskUse extends Pick<DeliverOptions, 'serving' | 'use' | 'storeOptions'> {
  readonly site: SiteAddress
  readonly agent: EndpointAgent
  readonly launched: Launched & { readonly delivery: DiskDelivery }
}

/** Uses a disk that was delivered to this machine, until its lease is over, and says why it ended. */
export async function deliverHere({ site, agent, launched, ...use }: DiskUse, out: Output): Promise<void> {
  const dir = endpointDir()
  const open = diskDeliverer({
    dir,
    cache: { dir: join(dir, 'chunks'), maximumBytes: cacheBytes },
    memoryBytes,
    fetch: releaseMetadata(site),
    ...use,
    warn: (error) => {
      process.stderr.write(`${isCoded(error) ? `${error.code}: ${error.message}` : String(error)}\n`)
    },
  })
  out.signal.addEventListener('abort', () => agent.leases.close(), { once: true })
  const { code, reason, notice } = await launchDisk(agent, launched, open)
  out.result({ code, reason, ...(notice === undefined ? {} : { notice }) }, () => `Ended: ${reason}`)
  if (notice?.remedy !== undefined) out.say(notice.remedy)
  if (notice?.stepDown !== undefined) {
    const { id } = launched.delivery.session.workspace
    out.say(`Go on in the data centre (${notice.stepDown}): trustcast launch ${id}`)
  }
}

/** What the site publishes of its releases, file by file; signed, so that nobody need trust the way. */
export function releaseMetadata(site: SiteAddress): ReleaseFetch {
  return async (file, maxBytes) => {
    try {
      const { body } = await call(site, { method: 'GET', path: `/api/v1/releases/metadata/${file}` })
      return body.subarray(0, maxBytes + 1)
    } catch (error) {
      if (error instanceof ApiRefusal && error.code === 'NOT_FOUND') return undefined
      throw error
    }
  }
}

/**
 * Whom applications run as: the account that was named, or whoever called sudo.
 *
 * @throws {CliError} CLI_NO_ACCOUNT
 */
export async function accountHere(named: string | undefined): Promise<SandboxRequest['user']> {
  const wanted = named ?? process.env['SUDO_USER']
  const lines = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'))
  const [name, , uid = '0', gid = '0'] = lines.find(([name]) => name === wanted) ?? []
  if (name === undefined || uid === '0') {
    throw new CliError('CLI_NO_ACCOUNT', `applications do not run as ${wanted ?? 'root'}`, {
      remedy: 'Name an account of this machine: --as ACCOUNT.',
    })
  }
  return { uid: Number(uid), gid: Number(gid), name }
}

/** The screen of whoever calls, if it is one of this machine. */
export function displayHere(): Pick<SandboxRequest, 'display'> {
  const { DISPLAY: display, XAUTHORITY: authority } = process.env
  if (display === undefined || !display.startsWith(':')) return {}
  return { display: { kind: 'x11', display, ...(authority !== undefined && { authority }) } }
}
