import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { PcrValues } from './index.ts'

export interface QuoteVector {
  /** TPMT_PUBLIC. */
  readonly publicArea: Buffer
  readonly name: Buffer
  readonly quote: Buffer
  readonly signature: Buffer
  readonly pcrs: Buffer
}

/** What was recorded from swtpm: `vectors/tpm/swtpm.json`. */
export interface SwtpmVectors {
  readonly extraData: Buffer
  readonly ecc: QuoteVector
  readonly rsa: QuoteVector
  readonly ek: {
    readonly rsa: Buffer
    readonly ecc: Buffer
    /** Of the RSA key. */
    readonly certificate: Buffer
    /** PEM. */
    readonly issuer: string
  }
}

const dir = join(import.meta.dirname, '../../vectors/tpm')

/** Texts with spaces are for people or PEM; every other one is base64url. */
export const swtpm: SwtpmVectors = JSON.parse(
  readFileSync(join(dir, 'swtpm.json'), 'utf8'),
  (_, value: unknown) =>
    typeof value === 'string' && !value.includes(' ') ? Buffer.from(value, 'base64url') : value,
) as SwtpmVectors

export type RecordedBoot = 'secure' | 'command-line' | 'insecure'

/** Event log and PCRs of a virtual machine's boot: `vectors/tpm/boots.json`, `boot-*.bin`. */
export function recordedBoot(name: RecordedBoot): { readonly log: Buffer; readonly pcrs: PcrValues } {
  const boots = JSON.parse(readFileSync(join(dir, 'boots.json'), 'utf8')) as Record<
    RecordedBoot,
    Record<string, string>
  >
  return {
    log: readFileSync(join(dir, `boot-${name}.bin`)),
    pcrs: new Map(Object.entries(boots[name]).map(([pcr, hex]) => [Number(pcr), Buffer.from(hex, 'hex')])),
  }
}
