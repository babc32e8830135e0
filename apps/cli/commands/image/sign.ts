import { madeHere } from '#apps/images/key-ring.ts'
import { type ProposalDetail, proposalDetail, proposalView } from '#core/api/releases.ts'
import { keyLabel, type Metadata, signMetadata } from '#core/release/index.ts'
import { ApiRefusal } from '../../api-client.ts'
import { ask } from '../../ask.ts'
import { CliError, usage } from '../../cli-error.ts'
import { type Command, parse } from '../../command.ts'
import { openSigner, signerSynopsis, signerWords } from '../../release-signer.ts'
import { describeProposal } from './describe-proposal.ts'
import { type Call, type Meant, parseMeant, proposalText, siteCall } from './site-releases.ts'

export const signCommand: Command = {
  synopsis: `sign NAME:VERSION|root|targets|NAME ${signerSynopsis} [--yes]`,
  summary:
    'Show what is to be signed, and add one signature to it. The first to sign NAME:VERSION proposes its release by that.',
  run: async (args, out) => {
    const words = parse(args, { ...signerWords, yes: { type: 'boolean' } }, [1, 1])
    const meant = parseMeant(words.positionals[0] ?? '')
    const isSure = words.flag('yes')
    if (!isSure && (!process.stdin.isTTY || out.json)) throw usage('without a terminal, --yes must be said')
    const call = await siteCall()
    const { metadata, lines } = describeProposal(meant, await readOrPropose(call, meant))
    for (const line of [...lines, ...(await ownLines(meant, metadata))]) out.say(line)
    if (!isSure) await confirm()
    const signer = await openSigner(words, out.signal)
    const signature = await signMetadata(metadata, signer)
    const path = `/releases/proposals/${meant.role}/signatures`
    const proposal = await call('POST', path, proposalView, signature)
    out.result({ keyId: signer.keyId, shown: lines, proposal }, () => signedText(signer, proposal))
  },
}

function signedText(
  { publicKey }: Awaited<ReturnType<typeof openSigner>>,
  proposal: Parameters<typeof proposalText>[0],
): string {
  return `Signed with the key of ${keyLabel(publicKey)}.\n${proposalText(proposal)}`
}

async function readOrPropose(call: Call, { role, version }: Meant): Promise<ProposalDetail> {
  const read = (): Promise<ProposalDetail> => call('GET', `/releases/proposals/${role}`, proposalDetail)
  try {
    return await read()
  } catch (error) {
    if (!(error instanceof ApiRefusal) || error.code !== 'NOT_FOUND' || version === undefined) throw error
    await call('POST', `/releases/images/${role}/releases`, proposalView, { version })
    return read()
  }
}

/** What this account knows by itself of the image that is released. */
async function ownLines({ role }: Meant, metadata: Metadata): Promise<readonly string[]> {
  if (metadata.kind !== 'family') return []
  const newest = Object.entries(metadata.signed.targets).toSorted(
    ([, a], [, b]) => b.custom.counter - a.custom.counter,
  )[0]
  if (newest === undefined) return []
  const [path, { hashes, custom }] = newest
  const version = (custom.content ?? path).slice(role.length + 1)
  const own = await madeHere({ name: role, version })
  if (own === undefined) return []
  return [
    own === `sha256:${hashes.sha256}`
      ? '  It is the image that this account imported.'
      : '  WARNING: this account imported another image under this version.',
  ]
}

async function confirm(): Promise<void> {
  if ((await ask('Type yes to sign this: ', false)) === 'yes') return
  throw new CliError('CLI_NOT_CONFIRMED', 'it was not signed', { remedy: 'Type yes to sign, all of it.' })
}
