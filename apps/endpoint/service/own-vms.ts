import { runDirectory } from '../disk/run-dir.ts'
import { LocalVmError, ownersRequest, passToVm } from '../vm/vm-control.ts'
import { readVms, type VmRecord } from '../vm/vm-record.ts'
import type { Asker } from './asker.ts'
import { parse } from './device-routes.ts'

/** What people may do with VMs that run as root and show their screen to them: this service's, and those that they started with sudo. */

/** @param asker sees those whose screen is theirs; root everything */
export async function listVms({ uid }: Pick<Asker, 'uid'>): Promise<readonly VmRecord[]> {
  return (await readVms(ownRunDirectory())).filter((vm) => uid === 0 || vm.uid === uid)
}

/**
 * @param text one request of `vmControl`, as JSON
 * @throws {ServiceError} SERVICE_BAD_REQUEST; {LocalVmError} LOCAL_VM_UNKNOWN; {ControlRefusal}
 */
export async function actOnVm(id: string, text: string, asker: Pick<Asker, 'uid'>): Promise<object> {
  const wanted = parse(ownersRequest, text, 'a request to a VM, such as {"suspend": true}')
  const vm = (await listVms(asker)).find((one) => one.id === id)
  // Of those of others nobody learns whether there are any.
  if (vm === undefined)
    throw new LocalVmError('LOCAL_VM_UNKNOWN', `no VM of yours is called ${id}`, {
      remedy: 'Look with `trustcast vm list`.',
    })
  return passToVm(ownRunDirectory(), vm, wanted)
}

function ownRunDirectory(): string {
  return runDirectory(process.env, process.getuid?.())
}
