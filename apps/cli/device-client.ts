import { request } from 'node:http'
import { z } from 'zod'
import { runDirectory } from '#apps/endpoint/disk/run-dir.ts'
import { type VmControl, vmControlBy } from '#apps/endpoint/vm/vm-control.ts'
import { type VmRecord, vmRecord } from '#apps/endpoint/vm/vm-record.ts'
import { ApiRefusal } from '#apps/site-client/call.ts'
import {
  type DeviceLaunchAnswer,
  type DeviceStatus,
  deviceLaunchAnswer,
  deviceStatus,
} from '#core/api/handoff.ts'
import { apiRefusal } from '#core/api/words.ts'
import { CliError } from './cli-error.ts'

/** Talks to the service of this endpoint over its unix socket. */
/** A guest may take a minute to shut down. */
const timeoutMs = 90_000
const maxAnswerBytes = 1024 * 1024
const rootRunDir = '/run/trustcast'

/** @throws {CliError} CLI_NO_SERVICE */
export async function askStatus(): Promise<DeviceStatus> {
  return ask('GET', '/status', undefined, deviceStatus)
}

/** @throws {CliError} CLI_NO_SERVICE; {ApiRefusal} with the site's or the service's code */
export async function askLaunch(code: string): Promise<DeviceLaunchAnswer> {
  return ask('POST', '/launch', { code }, deviceLaunchAnswer)
}

/** The VMs of this endpoint's service, or that root started, whose screen is this account's. @throws {CliError} CLI_NO_SERVICE */
export async function askVms(): Promise<readonly VmRecord[]> {
  return (await ask('GET', '/vms', undefined, z.object({ vms: z.array(vmRecord) }))).vms
}

/** Looks after one of them. Calls throw {CliError} CLI_NO_SERVICE, and {ApiRefusal} with what the service or the VM refused. */
export function controlThroughService({ id }: Pick<VmRecord, 'id'>): VmControl {
  return vmControlBy((wanted, schema) => ask('POST', `/vms/${id}`, wanted, schema))
}

async function ask<T>(
  method: string,
  path: string,
  body: object | undefined,
  schema: z.ZodType<T>,
): Promise<T> {
  const text = body === undefined ? '' : JSON.stringify(body)
  const { status, answer } = await send(method, path, text)
  if (status === 200) return schema.parse(JSON.parse(answer))
  const { code, message, remedy } = apiRefusal.parse(JSON.parse(answer))
  throw new ApiRefusal(code, message, remedy === undefined ? {} : { remedy })
}

async function send(
  method: string,
  path: string,
  text: string,
): Promise<{ readonly status: number; readonly answer: string }> {
  const socketPath = `${runDirOfService()}/endpoint.sock`
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }
    const sent = request({ socketPath, method, path, headers, timeout: timeoutMs }, (response) => {
      let answer = ''
      response.setEncoding('utf8')
      response.on('data', (part: string) => {
        answer += part
        if (answer.length > maxAnswerBytes) response.destroy(new Error('the answer is too long'))
      })
      response.on('error', reject)
      response.on('end', () => resolve({ status: response.statusCode ?? 0, answer }))
    })
    sent.on('timeout', () => sent.destroy(new Error(`no answer in ${timeoutMs / 1000} s`)))
    sent.on('error', (cause) =>
      reject(
        new CliError('CLI_NO_SERVICE', `the service of this endpoint does not answer: ${cause.message}`, {
          remedy:
            'Start it: sudo systemctl start trustcast-endpoint. If it runs with --group, you need to be in that group.',
          cause,
        }),
      ),
    )
    sent.end(text)
  })
}

/** The service is root's, whoever asks it. */
function runDirOfService(): string {
  return process.env['TRUSTCAST_RUN'] === undefined
    ? rootRunDir
    : runDirectory(process.env, process.getuid?.())
}
