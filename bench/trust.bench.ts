/**
 * How long the site takes to verify what an endpoint's TPM attests, beside `tpm2_checkquote` on the same quotes.
 *
 * The quotes come from a software TPM (swtpm), the boot log from a machine that booted Debian through UEFI firmware, shim and GRUB.
 */
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { openTpm, type RawQuote } from '#adapters/tpm/index.ts'
import { startSoftwareTpm, tpm2 } from '#adapters/tpm/swtpm.rig.ts'
import {
  bootOf,
  decodeEventLog,
  decodePublicArea,
  makeCredential,
  nameOf,
  replay,
  requireMatch,
  verifyQuote,
} from '#core/tpm/index.ts'
import { median, method, quantile, report } from './report.ts'

const quotes = 200
const checks = 15

method(
  `${quotes} quotes of 12 PCRs by an ECC P-256 key of swtpm, each with its key decoded anew, over and over; ` +
    '`tpm2_checkquote` of the same quotes is a process each, most of which is its start; ' +
    'a boot log of 14 KB is decoded, replayed and compared; wall time, medians.',
)

await using software = await startSoftwareTpm()
const tpm = openTpm({ tcti: software.tcti })
const { publicArea: ekPublic } = await tpm.readEndorsement()
const key = await tpm.createAttestationKey()
await tpm2(software, `readpublic -c ${key.handle} -f pem -o ak.pem`)

const made: (RawQuote & { readonly extraData: Buffer })[] = []
for (let index = 0; index < quotes / 10; index++) {
  const extraData = randomBytes(32)
  made.push({ extraData, ...(await tpm.quote(key.handle, extraData)) })
}

const times = Array.from({ length: quotes * 20 }, (_, index) => {
  const one = made[index % made.length]!
  const from = performance.now()
  verifyQuote({
    attest: one.quote,
    signature: one.signature,
    publicArea: decodePublicArea(key.publicArea),
    extraData: one.extraData,
    pcrs: one.pcrs,
  })
  return performance.now() - from
}).slice(quotes)

const checkMs: number[] = []
for (const { quote, signature, extraData } of made.slice(0, checks)) {
  for (const [file, bytes] of Object.entries({ quote, signature }))
    await writeFile(join(software.dir, file), bytes)
  const line = `-u ak.pem -m quote -s signature -g sha256 -q ${extraData.toString('hex')}`
  const from = performance.now()
  execFileSync('tpm2_checkquote', line.split(' '), { cwd: software.dir, stdio: 'ignore' })
  checkMs.push(performance.now() - from)
}
report('trust.quote.verify.p50', median(times), 'ms', {
  peer: ['tpm2_checkquote', median(checkMs)],
  goal: { of: 'value', atMost: 0.3 },
})
report('trust.quote.verify.p99', quantile(times, 0.99), 'ms')

const log = readFileSync(join(import.meta.dirname, '../vectors/tpm/boot-secure.bin'))
const pcrs = new Map(Array.from({ length: 15 }, (_, pcr) => [pcr, Buffer.alloc(32)] as const))
for (const [pcr, value] of replay(decodeEventLog(log))) pcrs.set(pcr, Buffer.from(value))
report(
  'trust.boot-log',
  median(
    measure(300, () => {
      const events = decodeEventLog(log)
      requireMatch(events, pcrs)
      bootOf(pcrs, events)
    }),
  ),
  'ms',
)
const ek = decodePublicArea(ekPublic)
const name = nameOf(decodePublicArea(key.publicArea))
report('trust.make-credential', median(measure(300, () => makeCredential(ek, name, randomBytes(32)))), 'ms')

function measure(runs: number, run: () => void): readonly number[] {
  return Array.from({ length: runs }, () => {
    const from = performance.now()
    run()
    return performance.now() - from
  }).slice(runs / 5)
}
