import { HandoffError } from './handoff-error.ts'

/** `trustcast://launch?site=ORIGIN&code=CODE`: the portal hands a launch to whatever program of this machine answers to the scheme. */

export const launchScheme = 'trustcast'
const maxChars = 512
const codePattern = /^[A-Za-z0-9_-]{43}$/

export interface LaunchUrl {
  /** Origin of the site: `https://name[:port]`. Only compared with the one that this machine is enrolled at, never dialled. */
  readonly site: string
  readonly code: string
}

export function formatLaunchUrl({ site, code }: LaunchUrl): string {
  return `${launchScheme}://launch?${String(new URLSearchParams({ site, code }))}`
}

/**
 * @param text as the desktop passes it on, untrusted: any page can make a browser ask for it
 * @throws {HandoffError} DEVICE_URL_MALFORMED
 */
export function parseLaunchUrl(text: string): LaunchUrl {
  const url = text.length > maxChars ? null : URL.parse(text)
  if (url === null || url.protocol !== `${launchScheme}:`) throw malformed(`${launchScheme}://launch?…`)
  const { host, pathname, username, password, hash, searchParams } = url
  if (host !== 'launch' || !/^\/?$/.test(pathname) || username + password + hash !== '')
    throw malformed(`${launchScheme}://launch?…`)
  const names = [...searchParams.keys()]
  const site = searchParams.get('site') ?? ''
  const code = searchParams.get('code') ?? ''
  if (names.length !== 2 || new Set(names).size !== 2) throw malformed('site and code, each once')
  if (!codePattern.test(code)) throw malformed('a code of 43 letters')
  const origin = URL.parse(site)
  if (origin?.protocol !== 'https:' || origin.origin !== site) throw malformed('https://name[:port] as site')
  return { site, code }
}

function malformed(expected: string): HandoffError {
  return new HandoffError('DEVICE_URL_MALFORMED', `expected ${expected}, got something else`, {
    remedy: 'Open the workspace anew in the portal.',
  })
}
