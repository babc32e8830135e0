import type { z } from 'zod'
import { unattendedHeader } from '#core/api/unattended.ts'
import { apiError } from '#core/api/words.ts'
import { makeProof, proofHeader } from '#core/identity/proof.ts'
import { createStore } from '../ui/store.ts'
import { isUnattended } from './attendance.ts'
import { ApiError } from './errors.ts'
import { loadProofKeyPair } from './keys.ts'

/** One call of the site's API. */
export interface Call {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** Below `/api/v1`, with its query. */
  readonly path: string
  readonly body?: unknown
  /** What a change is based on: the tag of what was seen, or `new` where nothing may be yet. */
  readonly basis?: string
  /** Before there is a web session: no proof, and a 401 is an answer like any other. */
  readonly open?: boolean
  /** Try again by itself while the site is busy or away. Always so for GET. */
  readonly patient?: boolean
  readonly signal?: AbortSignal | undefined
  /** The answer goes on for as long as it is listened to: whoever reads it bounds its silence. */
  readonly stream?: boolean
}

/** Why requests are being tried again at the moment; empty when all is well. Shown quietly by the page. */
export const siteTrouble = createStore('')

/** Told when there is no web session, so that the page can lead to the sign-in; `isOver` when there was one. */
export const signedOut = createStore<{ readonly isOver: boolean } | undefined>(undefined)

/** Told when the site refuses what this person could do before: their groups have changed. */
export const rightsLost = createStore(0)

const attempts = 40
/** What says that nobody is signed in, here or at the site. */
const endings = ['NOT_SIGNED_IN', 'SIGNED_OUT']
/** A read that takes longer is lost, and tried again: well before its proof is too old. */
const readLimitMs = 15_000
/** The site's clock minus this computer's, ms: a wrong local clock must not make every proof stale. */
let clockOffsetMs = 0

/** The site's time, Unix ms: what it says of times is not to be held to a clock of this computer that is wrong. */
export function siteNow(): number {
  return Date.now() + clockOffsetMs
}

/**
 * Calls the site and checks its answer.
 *
 * @throws {ApiError} what the site answered, SITE_UNREACHABLE, SITE_ANSWER
 */
export async function request<T>(call: Call, schema: z.ZodType<T>): Promise<T> {
  return read(await send(call), schema)
}

/** As `request`, with the tag by which a change says that it is based on this. */
export async function requestTagged<T extends object>(
  call: Call,
  schema: z.ZodType<T>,
): Promise<T & { readonly tag: string }> {
  const response = await send(call)
  const tag = response.headers.get('etag') ?? ''
  return { ...(await read(response, schema)), tag }
}

/** As `request`, for calls whose answer says nothing more than that it was done. */
export async function command(call: Call): Promise<void> {
  const response = await send(call)
  await response.body?.cancel()
}

/** Calls the site and returns its successful answer, unread. */
export async function send(call: Call): Promise<Response> {
  const patient = call.patient ?? call.method === 'GET'
  let last: unknown
  for (let attempt = 1; ; attempt += 1) {
    const began = performance.now()
    try {
      const response = await sendOnce(call)
      siteTrouble.set('')
      return response
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      // The clock may have been wrong, which the answer tells, or the proof too old when it came: it is made anew.
      const isProofAgain = last === 'PROOF_REFUSED'
      last = error.code
      if (error.code === 'PROOF_REFUSED' && !isProofAgain) continue
      // A proof that is fresh and still refused is of another key than that of the web session.
      const isKeyLost = error.code === 'PROOF_REFUSED' && performance.now() - began < readLimitMs
      if (call.open !== true && (isKeyLost || endings.includes(error.code)))
        signedOut.set({ isOver: error.code === 'NOT_SIGNED_IN' })
      if (error.code === 'NOT_ALLOWED') rightsLost.set(rightsLost.get() + 1)
      if (!patient || !error.isTrouble || attempt >= attempts) throw error
      siteTrouble.set(
        error.status === 0 ? 'The site cannot be reached, trying again' : 'The site is busy, trying again',
      )
      await delay((error.retryAfter ?? Math.min(attempt, 5)) * 1000, call.signal)
    }
  }
}

async function read<T>(response: Response, schema: z.ZodType<T>): Promise<T> {
  const answer = schema.safeParse(response.status === 204 ? undefined : await readJson(response))
  if (answer.success) return answer.data
  throw badAnswer(response.status, answer.error)
}

async function sendOnce(call: Call): Promise<Response> {
  const path = `/api/v1${call.path}`
  const body =
    call.body === undefined ? new Uint8Array() : new TextEncoder().encode(JSON.stringify(call.body))
  const headers: Record<string, string> = { accept: 'application/json' }
  if (call.body !== undefined) headers['content-type'] = 'application/json'
  if (isUnattended()) headers[unattendedHeader] = '1'
  if (call.basis === 'new') headers['if-none-match'] = '*'
  else if (call.basis !== undefined) headers['if-match'] = call.basis
  if (call.open !== true) headers[proofHeader] = await prove(call.method, path, body)

  const limits = [
    ...(call.signal === undefined ? [] : [call.signal]),
    ...(call.method === 'GET' && call.stream !== true ? [AbortSignal.timeout(readLimitMs)] : []),
  ]
  let response: Response
  try {
    response = await fetch(path, {
      method: call.method,
      headers,
      body: call.body === undefined ? null : body,
      credentials: 'same-origin',
      cache: 'no-store',
      redirect: 'error',
      signal: AbortSignal.any(limits),
    })
  } catch (cause) {
    if (call.signal?.aborted === true) throw cause
    throw unreachable(cause)
  }
  learnClock(response)
  if (!response.ok) throw await readError(response)
  return response
}

async function prove(method: string, path: string, body: Uint8Array): Promise<string> {
  const keyPair = await loadProofKeyPair()
  if (keyPair === undefined) {
    throw new ApiError(401, { code: 'SIGNED_OUT', message: 'Nobody is signed in with this browser.' })
  }
  const random = crypto.getRandomValues(new Uint8Array(16))
  return makeProof({ method, path, body, keyPair, nowMs: siteNow(), random })
}

function learnClock(response: Response): void {
  const siteMs = Date.parse(response.headers.get('date') ?? '')
  if (Number.isNaN(siteMs)) return
  const offsetMs = siteMs - Date.now()
  // The header counts whole seconds: smaller differences say nothing.
  clockOffsetMs = Math.abs(offsetMs) > 2000 ? offsetMs : 0
}

async function readError(response: Response): Promise<ApiError> {
  const body = apiError.safeParse(await readJson(response))
  if (body.success) return new ApiError(response.status, body.data)
  if (response.status >= 502) return unreachable(body.error)
  return badAnswer(response.status, body.error)
}

async function readJson(response: Response): Promise<unknown> {
  try {
    return await response.json()
  } catch (cause) {
    if (cause instanceof SyntaxError) return undefined
    throw unreachable(cause)
  }
}

function unreachable(cause: unknown): ApiError {
  const message = 'The site cannot be reached.'
  const remedy = 'Check the network of this computer. Running sessions go on meanwhile.'
  return new ApiError(0, { code: 'SITE_UNREACHABLE', message, remedy }, cause)
}

function badAnswer(status: number, cause: unknown): ApiError {
  const message = 'The site gave an answer that this page does not understand.'
  const remedy = 'Reload the page: it may be older than the site.'
  return new ApiError(status, { code: 'SITE_ANSWER', message, remedy }, cause)
}

function delay(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms)
    signal?.addEventListener('abort', () => {
      clearTimeout(timer)
      reject(signal.reason as Error)
    })
  })
}
