/**
 * A process that asks a site as the command line does, on an endpoint and as whoever is signed in there: `ask-site.rig.ts PATH`. It prints the
 * answer.
 */

import { readLogin } from '#apps/cli/login-file.ts'
import { atThisEndpoint } from '#apps/cli/this-endpoint.ts'
import { call } from '#apps/site-client/call.ts'

const { site, credentials } = await atThisEndpoint(await readLogin())
const { body } = await call(site, { method: 'GET', path: process.argv[2] ?? '/' }, credentials)
console.log(String(body))
