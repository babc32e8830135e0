/**
 * A process that looks at the network it is in: `network-collectors.rig.ts OPTIONS`, as JSON. It prints what each collector sees, when it has
 * looked and whenever that has changed.
 */
import { networkCollectors } from '#adapters/network-linux/index.ts'
import { createCollecting } from '#apps/endpoint/collecting.ts'

export interface CollectorsRigOptions {
  readonly memory: string
  readonly resolvConf: string
  readonly site?: { readonly url: string; readonly rootPem: string }
}

const { site, ...rest } = JSON.parse(process.argv[2] ?? '{}') as CollectorsRigOptions
const log = { info: () => undefined, warn: (fields: object) => console.error(fields) }
const collecting = createCollecting({
  collectors: networkCollectors({ ...rest, site: async () => site }),
  everyMs: 3_000,
  log,
})
const print = (): void =>
  console.log(
    JSON.stringify(
      Object.fromEntries(
        collecting.latest().map(({ collector, value, detail }) => [collector, { value, detail }]),
      ),
    ),
  )
await collecting.collected
print()
let told = JSON.stringify(collecting.latest())
const timer = setInterval(() => {
  const now = JSON.stringify(collecting.latest())
  if (now !== told) print()
  told = now
}, 100)
process.once('SIGTERM', () => {
  clearInterval(timer)
  void collecting[Symbol.asyncDispose]()
})
