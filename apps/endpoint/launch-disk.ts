import { fullNameOf } from '#core/agent/full-name.ts'
import type { LeaseNotice, LeaseStats } from '#core/api/lease.ts'
import type { DiskDelivery, VmDelivery } from '#core/api/person.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import { LeaseError, unsealImageKey } from '#core/lease/index.ts'
import { type VerifiedDirection, verifyDirection } from '#core/release/index.ts'
import type { Overlay } from '#core/trust/words.ts'
import type { EndpointAgent, OfferedKey } from './endpoint-agent.ts'
import type { HeldLease } from './lease-keeper.ts'

/** What is to be opened, and under which lease. */
export interface DiskToOpen {
  /** Signed by the site's director for this launch. What it names must be signed by the release keys, too (I4): whoever opens checks it. */
  readonly direction: VerifiedDirection
  /** What the release calls the program to start; nothing is started from the disk of a VM. */
  readonly application: string | undefined
  /** The image key. Zeros once the lease is over: keys derived from it go with it. */
  readonly key: Uint8Array
  readonly stores: readonly string[]
  /** Whose launch it is, a UUID. */
  readonly personId: string
  /** What becomes of what is written, as the site says now; what it says at the end counts. */
  overlay(): Overlay
  /** What else the site says of it. */
  readonly lease: Pick<HeldLease, 'id' | 'display' | 'notice' | 'onWord' | 'end' | 'pause'>
  /** Aborts when the lease is over. */
  readonly signal: AbortSignal
}

/** A disk that is attached and mounted. */
export interface OpenedDisk extends AsyncDisposable {
  /** Runs the workspace's application; resolves when it has ended. */
  run(): Promise<void>
  stats(): LeaseStats
}

export type OpenDisk = (disk: DiskToOpen) => Promise<OpenedDisk>

/** How a launch ended. */
export interface DiskEnd {
  readonly code: string
  readonly reason: string
  /** When the site took it back: what would bring it back, and in which other mode the workspace opens now. */
  readonly notice?: LeaseNotice | undefined
}

/**
 * From a delivery to its end: gets the key into the agent's keeper, opens the disk, runs the application, and closes everything when
 * either it or the lease is over.
 *
 * @param launch.askedAt on the agent's clock, from before the launch was asked for
 * @param launch.nonce that the launch brought
 * @throws {AgentError} the site did not hand out the key
 * @throws {LeaseError} LEASE_KEY_UNREADABLE
 * @throws {ReleaseError} RELEASE_NOT_DIRECTED, RELEASE_DIRECTION_STALE, RELEASE_MALFORMED
 * @throws what `open` and `run` throw, unless the lease was over before
 */
export async function launchDisk(
  agent: EndpointAgent,
  launch: { readonly delivery: DiskDelivery | VmDelivery; readonly nonce: string; readonly askedAt: number },
  open: OpenDisk,
): Promise<DiskEnd> {
  const { delivery, nonce, askedAt } = launch
  const { id, leftMs, overlay } = delivery.lease
  const hold = (key: Uint8Array): HeldLease =>
    agent.leases.hold({ id, leftMs, overlay, askedAt, key, ...displayOf(delivery) })
  const key = await keyOf(agent, delivery.lease).catch((error: unknown) => {
    // The site hears why nothing comes of the lease, and offers the workspace again.
    hold(new Uint8Array(0)).end(reasonOf(error))
    throw error
  })
  const lease = hold(key)
  try {
    const direction = verifyDirection(Buffer.from(delivery.direction, 'base64url'), {
      publicKey: agent.directorKey,
      siteId: agent.siteId,
      endpointId: agent.id,
      nonce,
      nowMs: Date.now(),
    })
    return await use(lease, delivery, direction, open)
  } catch (error) {
    lease.end(reasonOf(error))
    throw error
  } finally {
    lease.end()
  }
}

async function keyOf(agent: EndpointAgent, lease: OfferedKey): Promise<Uint8Array> {
  const sealed = await agent.askForKey(lease)
  return unsealImageKey(agent.sealKeys, sealed, { leaseId: lease.id, endpointId: agent.id })
}

function reasonOf(error: unknown): { readonly code: string; readonly reason: string } | undefined {
  return isCoded(error) ? { code: error.code, reason: error.message } : undefined
}

/** What the first word of the site will repeat. */
function displayOf({ kind, session: { rights, obligations, person } }: DiskDelivery | VmDelivery) {
  return kind === 'local-vm' ? { display: { rights, obligations, fullName: fullNameOf(person) } } : {}
}

async function use(
  lease: HeldLease,
  delivery: DiskDelivery | VmDelivery,
  direction: VerifiedDirection,
  open: OpenDisk,
): Promise<DiskEnd> {
  try {
    const { key, signal } = lease
    const { stores } = delivery
    const application = delivery.kind === 'streamed-disk' ? delivery.application : undefined
    const personId = delivery.session.person.id
    const overlay = (): Overlay => lease.overlay
    await using disk = await open({ direction, application, key, stores, personId, overlay, lease, signal })
    lease.measure(() => disk.stats())
    await Promise.race([disk.run(), aborted(lease.signal)])
    return { code: 'LEASE_ENDED', reason: 'Nothing uses it any more' }
  } catch (error) {
    // Whatever broke after the key was gone broke because of it.
    const { reason } = lease.signal as { readonly reason: unknown }
    if (!(reason instanceof LeaseError)) throw error
    return { code: reason.code, reason: reason.message, notice: lease.notice }
  }
}

/** What fails because the lease is over is its end, and no fault of anything. @param signal of the lease */
export function warnUnlessOver(
  warn: (error: unknown) => void,
  signal: AbortSignal,
): (error: unknown) => void {
  return (error) => {
    if (!signal.aborted || error !== signal.reason) warn(error)
  }
}

/** Rejects with the signal's reason. */
async function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const end = (): void => reject(signal.reason as Error)
    if (signal.aborted) end()
    else signal.addEventListener('abort', end, { once: true })
  })
}
