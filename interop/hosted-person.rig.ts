import { randomInt } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { dialRoute } from '#apps/cli/dial-route.ts'
import { RfbPerson } from '#apps/host/rfb-person.rig.ts'
import type { SiteAddress } from '#apps/site-client/call.ts'
import { type HostedDelivery, hostedLaunchAnswer, type Route } from '#core/api/person.ts'
import {
  type Channel,
  type CryptoKeyPair,
  connectChannel,
  exportPublic,
  generateX25519,
  type Transport,
} from '#core/channel/index.ts'
import { type RunningSite, type SignedInClient, until } from './running-site.rig.ts'

/** What a person's client holds after a launch and before it connects. */
export interface Invitation {
  readonly delivery: HostedDelivery
  readonly keyPair: CryptoKeyPair
}

export type Dial = (signal: AbortSignal) => Promise<Transport>

/** A launch, as a client makes it. The screen is small: raw pixels cost time. */
export async function launch(client: SignedInClient, workspaceId: string): Promise<Invitation> {
  const { keyPair, clientKey } = await newKey()
  const body = { workspaceId, clientKey, width: 480, height: 320 }
  const { delivery } = await client.send('POST', '/launches', body, hostedLaunchAnswer)
  return { delivery, keyPair }
}

/** A key as clients make one, and its public half as the API takes it. */
export async function newKey(): Promise<{ readonly keyPair: CryptoKeyPair; readonly clientKey: string }> {
  const keyPair = await generateX25519()
  return { keyPair, clientKey: Buffer.from(await exportPublic(keyPair.publicKey)).toString('base64url') }
}

/** @param change what an attacker does differently */
export function connect(
  { delivery, keyPair }: Invitation,
  dial: Dial,
  change: { keyPair?: CryptoKeyPair; ticket?: Uint8Array; context?: Uint8Array; hostKey?: Uint8Array } = {},
): Channel {
  return connectChannel({
    dial,
    hostKey: Buffer.from(delivery.hostKey, 'base64url'),
    keyPair,
    ticket: Buffer.from(delivery.ticket, 'base64url'),
    context: Buffer.from(delivery.context, 'base64url'),
    ...change,
  })
}

/** As the command line does it: any gateway, by chance. */
export function anyGateway(site: SiteAddress, { delivery: { routes } }: Invitation): Dial {
  return (signal) => dialRoute(site, routes[randomInt(routes.length)] as Route, signal)
}

/** A person at a viewer of a workspace, with the picture before them. */
export async function openWorkspace(
  site: RunningSite,
  client: SignedInClient,
  workspaceId: string,
  dialOf: (invitation: Invitation) => Dial = (invitation) => anyGateway(site.address, invitation),
): Promise<Invitation & { readonly viewer: RfbPerson }> {
  const invitation = await launch(client, workspaceId)
  return { ...invitation, viewer: await view(connect(invitation, dialOf(invitation))) }
}

export async function view(channel: Channel): Promise<RfbPerson> {
  const viewer = new RfbPerson(channel)
  await viewer.ready
  return viewer
}

/** Why a channel ended; the test's own time limit ends a wait in vain. */
export async function closingOf(channel: Channel): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>()
  const before = channel.onState
  channel.onState = (state, reason) => {
    before?.(state, reason)
    if (state === 'closed') resolve(reason ?? '')
  }
  if (channel.state === 'closed') resolve('')
  return promise
}

/** Types again and again, since a shell that starts may miss the first keys, until it has done something. */
export async function typeUntil(
  viewer: RfbPerson,
  line: string,
  isDone: () => boolean | Promise<boolean>,
): Promise<void> {
  let tries = 0
  await until(
    () => {
      // Ctrl-C would be a way out of half a line; the shell takes Enter as well.
      if (tries++ % 40 === 0) viewer.type(`\n${line}\n`)
      return isDone()
    },
    `the session did what ${line} says`,
    40_000,
  )
}

/** @returns whether a line of pixels of this colour was ever on the screen */
export function watchFor(viewer: RfbPerson, [red = 0, green = 0, blue = 0]: Uint8Array): () => boolean {
  const row = Buffer.concat(Array.from({ length: 8 }, () => Buffer.from([blue, green, red, 0])))
  let seen = false
  viewer.onPicture = (pixels) => {
    seen ||= pixels.includes(row)
  }
  return () => seen
}

/** Tries until it does not fail any more. */
export async function untilWorks(deed: () => Promise<unknown>, what: string): Promise<void> {
  let last: unknown
  await until(
    () =>
      deed().then(
        () => true,
        (error: unknown) => {
          last = error
          return false
        },
      ),
    what,
    45_000,
  ).catch((error: unknown) => {
    throw new Error(String(error), { cause: last })
  })
}

/** Text of a file in the home of a person; empty when there is none. */
export async function homeFile(site: RunningSite, login: string, name: string): Promise<string> {
  return readFile(join(await homeOf(site, login), name), 'utf8').catch(() => '')
}

/** What is in the home of a person. */
export async function homeNames(site: RunningSite, login: string): Promise<readonly string[]> {
  return readdir(await homeOf(site, login)).catch(() => [])
}

async function homeOf(site: RunningSite, login: string): Promise<string> {
  const homes = join(site.state, 'homes')
  const names = await readdir(homes).catch(() => [])
  return join(homes, names.find((one) => one.startsWith(`tc-${login}-`)) ?? 'nobody')
}
