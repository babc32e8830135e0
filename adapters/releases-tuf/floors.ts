import { mkdir, open, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Floors, labelPattern } from '#core/release/index.ts'
import { syncDirectory } from './durable-file.ts'

/**
 * Version floors in a folder: one empty file `NAME@COUNTER` for each, of which the highest counts. Raising a floor adds
 * a file and removes lower ones, so that no order of callers, processes and crashes can lower it.
 *
 * @param dir made if it is not there; whoever can write to it can lower floors
 */
export async function openFloors(dir: string): Promise<Floors> {
  await mkdir(dir, { recursive: true, mode: 0o700 })
  const countersOf = async (name: string): Promise<readonly number[]> => {
    const prefix = `${name}@`
    const files = (await readdir(dir)).filter((file) => file.startsWith(prefix))
    return files.map((file) => Number(file.slice(prefix.length))).filter(isCounter)
  }
  const floorOf = async (name: string): Promise<number> => Math.max(0, ...(await countersOf(name)))
  return {
    get: floorOf,
    async all() {
      const names = new Set((await readdir(dir)).map((file) => file.slice(0, file.lastIndexOf('@'))))
      const known = [...names].filter((name) => labelPattern.test(name))
      const floors = await Promise.all(known.map(async (name) => [name, await floorOf(name)] as const))
      return floors.filter(([, floor]) => floor > 0)
    },
    async raise(name, counter) {
      if (!labelPattern.test(name) || !isCounter(counter)) {
        throw new RangeError(`expected the name of an image and a counter, got ${name} and ${counter}`)
      }
      const before = await countersOf(name)
      if (before.some((known) => known >= counter)) return
      await (await open(join(dir, `${name}@${counter}`), 'w', 0o600)).close()
      await syncDirectory(dir)
      for (const lower of before) await rm(join(dir, `${name}@${lower}`), { force: true })
    },
  }
}

function isCounter(value: number): boolean {
  return Number.isSafeInteger(value) && value > 0
}
