import { runDirectory } from '#apps/endpoint/disk/run-dir.ts'
import {
  LocalVmError,
  pickVm,
  type VmControl,
  type VmStatusView,
  vmControlOf,
} from '#apps/endpoint/vm/vm-control.ts'
import { readVms, type VmRecord } from '#apps/endpoint/vm/vm-record.ts'
import { CliError, usage } from '../cli-error.ts'
import { type Command, commandGroup, parse, table } from '../command.ts'
import { askVms, controlThroughService } from '../device-client.ts'
import { replicaText } from '../replica-text.ts'
import { sizeText } from './image/store-options.ts'

export const vm: Command = commandGroup('Look after the local VMs of this machine; `launch` starts them.', {
  list: async () => list,
  suspend: async () => simple('suspend', 'Pause a VM where it is.', 'Paused', (control) => control.suspend()),
  resume: async () => simple('resume', 'Let a paused VM go on.', 'Goes on', (control) => control.resume()),
  snapshot: async () => snapshot,
  stop: async () => stop,
})

const list: Command = {
  synopsis: 'list',
  summary: 'The VMs that run here, and how much of their images is on this machine.',
  run: async (args, out) => {
    parse(args, {}, [0, 0])
    const known = await knownVms()
    const vms = await Promise.all(
      known.map(async ({ control, ...record }) => ({
        record,
        status: await control.status().catch(withoutAnswer),
      })),
    )
    out.result({ vms: vms.map(({ record, status }) => ({ ...record, ...status })) }, () =>
      vms.length === 0
        ? 'No VM runs here.'
        : table(
            [
              'VM',
              'WORKSPACE',
              'PERSON',
              'STATE',
              'IMAGE',
              'COPY',
              'WRITTEN',
              'DATA CENTRE',
              'VIEWERS',
              'SCREEN',
              'SINCE',
            ],
            vms.map(rowOf),
          ),
    )
  },
}

function rowOf({
  record,
  status,
}: {
  record: VmRecord
  status: VmStatusView | undefined
}): readonly string[] {
  const { id, workspace, person, image, display, since } = record
  if (status === undefined)
    return [id, workspace.id, person.name, 'does not answer', image, '', '', '', '', display, since]
  const { state, stats, viewers } = status
  const words = [sizeText(stats.bytesWritten), replicaText(status.replica), String(viewers), display, since]
  return [id, workspace.id, person.name, state, image, copyText(status), ...words]
}

function copyText({ state, copy: { doneBytes, sizeBytes, isComplete } }: VmStatusView): string {
  if (state === 'withdrawn') return 'encrypted, no key'
  if (isComplete) return 'complete'
  return `${sizeBytes === 0 ? 0 : Math.floor((100 * doneBytes) / sizeBytes)} %`
}

const stop: Command = {
  synopsis: 'stop VM [--force]',
  summary: 'Have the guest of a VM shut down, and wait for it. With --force its power fails.',
  run: async (args, out) => {
    const words = parse(args, { force: { type: 'boolean' } }, [1, 1])
    const { id, workspace, control } = await wanted(words.positionals[0])
    await control.stop(words.flag('force'))
    out.result({ id }, () => `Stopped ${workspace.name}.`)
  },
}

const acts = ['list', 'take', 'return', 'remove'] as const

const snapshot: Command = {
  synopsis: 'snapshot list|take|return|remove VM [NAME]',
  summary:
    'Keep what was written in a VM up to now under a name, or go back to it: what was written since is gone then, and the VM starts anew.',
  run: async (args, out) => {
    const [word = '', which = '', name = ''] = parse(args, {}, [2, 3]).positionals
    const act = acts.find((known) => known === word)
    if (act === undefined) throw usage(`expected one of ${acts.join(', ')}`)
    if ((act === 'list') !== (name === ''))
      throw usage(act === 'list' ? 'one word too many' : 'a name is missing')
    const { control } = await wanted(which)
    const snapshots = await control.snapshot(act, name)
    out.result({ snapshots }, () =>
      snapshots.length === 0
        ? 'There is no snapshot.'
        : table(
            ['SNAPSHOT', 'TAKEN', 'SIZE'],
            snapshots.map((one) => [one.name, one.takenAt, sizeText(one.sizeBytes)]),
          ),
    )
  },
}

function simple(
  name: string,
  summary: string,
  done: string,
  act: (control: VmControl) => Promise<void>,
): Command {
  return {
    synopsis: `${name} VM`,
    summary,
    run: async (args, out) => {
      const { id, workspace, control } = await wanted(parse(args, {}, [1, 1]).positionals[0])
      await act(control)
      out.result({ id }, () => `${done}: ${workspace.name}`)
    },
  }
}

interface KnownVm extends VmRecord {
  readonly control: VmControl
}

/** By its id, or by its workspace. */
async function wanted(word = ''): Promise<KnownVm> {
  return pickVm(await knownVms(), word)
}

/** Those that this account keeps, and those that root keeps for it: these are asked through the service. */
async function knownVms(): Promise<readonly KnownVm[]> {
  const own = await ownVms()
  const theirs = process.getuid?.() === 0 ? [] : await askVms().catch(withoutService)
  return [
    ...own,
    ...theirs
      .filter(({ id }) => !own.some((one) => one.id === id))
      .map((record) => ({ ...record, control: controlThroughService(record) })),
  ]
}

async function ownVms(): Promise<readonly KnownVm[]> {
  // Somebody who is not signed in at a seat may have no folder for what runs.
  if (process.getuid?.() !== 0 && !process.env['TRUSTCAST_RUN'] && !process.env['XDG_RUNTIME_DIR']) return []
  const runDir = runDirectory(process.env, process.getuid?.())
  return (await readVms(runDir)).map((record) => ({ ...record, control: vmControlOf(runDir, record) }))
}

/** One that is just ending, or hangs, does not hide the others. */
function withoutAnswer(error: unknown): undefined {
  if (error instanceof LocalVmError && error.code === 'LOCAL_VM_NOT_ANSWERING') return undefined
  throw error
}

function withoutService(error: unknown): readonly VmRecord[] {
  if (error instanceof CliError && error.code === 'CLI_NO_SERVICE') return []
  throw error
}
