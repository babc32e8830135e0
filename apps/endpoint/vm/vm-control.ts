import type { Server } from 'node:net'
import { z } from 'zod'
import { leaseStats } from '#core/api/lease.ts'
import { CodedError } from '#core/errors/coded-error.ts'
import { askControlSocket, NoAnswer, serveControlSocket } from '../control-socket.ts'
import { replicaStats } from '../disk/disk-stats.ts'
import { type VmRecord, vmFolder } from './vm-record.ts'

export type LocalVmErrorCode =
  /** No VM has this id or workspace. */
  | 'LOCAL_VM_UNKNOWN'
  | 'LOCAL_VM_NOT_ANSWERING'
  /** The signed image describes no virtual machine. */
  | 'LOCAL_VM_NOT_DESCRIBED'
  /** Its key was taken back: nothing of it is read before it is launched again. */
  | 'LOCAL_VM_WITHDRAWN'
  /** A snapshot of it is being made or put back. */
  | 'LOCAL_VM_BUSY'
  /** The guest did not shut down by itself. */
  | 'LOCAL_VM_STILL_RUNNING'
  /** What was written is not kept, so there is nothing to take a snapshot of. */
  | 'LOCAL_VM_KEEPS_NOTHING'
  /** It was paused and cannot go on: another release, another person, or nothing was kept. */
  | 'LOCAL_VM_NOT_LAUNCHED_HERE'
export class LocalVmError extends CodedError<LocalVmErrorCode> {}

/** `withdrawn`: paused in memory, without a key. */
export const vmStates = ['starting', 'running', 'suspended', 'withdrawn', 'ended'] as const
export type VmState = (typeof vmStates)[number]

const count = z.number().min(0)
const status = z.strictObject({
  state: z.enum(vmStates),
  accelerator: z.enum(['kvm', 'tcg']),
  viewers: count,
  /** How far its copy of the image has come. */
  copy: z.strictObject({ doneBytes: count, sizeBytes: count, isComplete: z.boolean() }),
  stats: leaseStats,
  /** The copy in the data centre of what is written, where there is to be one. */
  replica: replicaStats.exactOptional(),
})
export type VmStatusView = z.infer<typeof status>

const snapshot = z.strictObject({ name: z.string(), takenAt: z.iso.datetime(), sizeBytes: count })

const always = z.literal(true)
/** What the person may ask whose screen it is on. */
export const ownersRequest = z.union([
  z.strictObject({ status: always }),
  z.strictObject({ suspend: always }),
  z.strictObject({ resume: always }),
  z.strictObject({ stop: z.strictObject({ force: z.boolean() }) }),
  z.strictObject({
    snapshot: z.strictObject({ act: z.enum(['list', 'take', 'return', 'remove']), name: z.string().max(64) }),
  }),
])
/** Launches it again for whoever is signed in, so that it goes on. */
const request = z.union([ownersRequest, z.strictObject({ relaunch: always })])
type VmRequest = z.infer<typeof request>
export type SnapshotAct = 'list' | 'take' | 'return' | 'remove'

/** What can be asked of the process that keeps a VM. */
export interface VmControl {
  status(): Promise<VmStatusView>
  suspend(): Promise<void>
  resume(): Promise<void>
  relaunch(): Promise<void>
  stop(force: boolean): Promise<void>
  /** @returns what there is afterwards */
  snapshot(act: SnapshotAct, name: string): Promise<readonly z.infer<typeof snapshot>[]>
}

const done = z.strictObject({ done: always })
const statusAnswer = z.strictObject({ status })
const snapshotsAnswer = z.strictObject({ snapshots: z.array(snapshot) })

/** Answers other processes of the same owner. */
export async function serveVmControl(path: string, control: VmControl): Promise<Server> {
  return serveControlSocket(path, request, async (wanted) => {
    if ('status' in wanted) return { status: await control.status() }
    if ('snapshot' in wanted) {
      const { act, name } = wanted.snapshot
      return { snapshots: await control.snapshot(act, name) }
    }
    if ('suspend' in wanted) await control.suspend()
    else if ('resume' in wanted) await control.resume()
    else if ('relaunch' in wanted) await control.relaunch()
    else await control.stop(wanted.stop.force)
    return { done: true }
  })
}

/** A VM that another process keeps. Calls throw what that process said, or LOCAL_VM_NOT_ANSWERING. */
export function vmControlOf(runDir: string, { id }: Pick<VmRecord, 'id'>): VmControl {
  const path = vmFolder(runDir, id).control
  return vmControlBy((wanted, schema) => ask(path, wanted, schema))
}

/** @param send brings one request to the VM's process, and what it answers back, as the schema has it */
export function vmControlBy(
  send: <Answer>(wanted: VmRequest, schema: z.ZodType<Answer>) => Promise<Answer>,
): VmControl {
  const act = async (wanted: VmRequest): Promise<void> => {
    await send(wanted, done)
  }
  return {
    status: async () => (await send({ status: true }, statusAnswer)).status,
    suspend: () => act({ suspend: true }),
    resume: () => act({ resume: true }),
    relaunch: () => act({ relaunch: true }),
    stop: (force) => act({ stop: { force } }),
    snapshot: async (what, name) =>
      (await send({ snapshot: { act: what, name } }, snapshotsAnswer)).snapshots,
  }
}

/**
 * Asks for somebody else, and tells what the VM's process answered.
 *
 * @throws {ControlRefusal} {LocalVmError} LOCAL_VM_NOT_ANSWERING
 */
export async function passToVm(
  runDir: string,
  { id }: Pick<VmRecord, 'id'>,
  wanted: z.infer<typeof ownersRequest>,
): Promise<object> {
  return ask(vmFolder(runDir, id).control, wanted, z.looseObject({}))
}

/**
 * @param wanted an id, or the workspace that only one VM is of
 * @throws {LocalVmError} LOCAL_VM_UNKNOWN
 */
export function pickVm<Vm extends Pick<VmRecord, 'id' | 'workspace'>>(
  vms: readonly Vm[],
  wanted: string,
): Vm {
  const [first, second] = vms.filter(({ id, workspace }) => id === wanted || workspace.id === wanted)
  if (first !== undefined && second === undefined) return first
  const which = first === undefined ? 'no VM' : 'more than one VM'
  throw new LocalVmError('LOCAL_VM_UNKNOWN', `${which} here is called ${JSON.stringify(wanted)}`, {
    remedy: 'Give the id of one that runs: trustcast vm list',
  })
}

/** @throws {ControlRefusal} {LocalVmError} LOCAL_VM_NOT_ANSWERING */
async function ask<Answer>(path: string, wanted: VmRequest, schema: z.ZodType<Answer>): Promise<Answer> {
  try {
    // How it is it says at once; all else may take its time.
    return await askControlSocket(path, wanted, schema, !('status' in wanted))
  } catch (error) {
    if (!(error instanceof NoAnswer)) throw error
    const { message, cause } = error
    throw new LocalVmError('LOCAL_VM_NOT_ANSWERING', `the process of the VM did not answer: ${message}`, {
      remedy: 'Try again; if it stays so, end that process: its VM ends with it.',
      cause,
    })
  }
}
