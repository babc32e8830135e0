import { join } from 'node:path'
import { openFloors } from '#adapters/releases-tuf/index.ts'
import { mostFloors } from '#core/api/words.ts'

/**
 * What an endpoint says of its floors when it asks for a launch, so that it is directed to nothing that it would refuse: the site knows what it
 * gave it, but not what it gave this machine when it was enrolled as another endpoint.
 *
 * @param dir the endpoint's folder
 */
export async function toldFloors(dir: string): Promise<Readonly<Record<string, number>>> {
  const floors = await openFloors(join(dir, 'floors'))
  return Object.fromEntries((await floors.all()).slice(0, mostFloors))
}
