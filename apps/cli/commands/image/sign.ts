import { madeHere } from '#apps/images/key-ring.ts'
import { ApiRefusal } from '#apps/site-client/call.ts'
import { releaseMetadata } from '#apps/site-client/release-metadata.ts'
import { type ProposalDetail, proposalDetail, proposalView } from '#core/api/releases.ts'
import { parseReference } from '#core/blobs/index.ts'
import { keyLabel, signMetadata } from '#core/release/index.ts'
import { ask } from '../../ask.ts'
import { CliError, usage } from '../../cli-error.ts'
import { type Command, type Parsed, parse } from '../../command.ts'
import { readLogin, siteFolder } from '../../login-file.ts'
import { openSigner, signerSynopsis, signerWords } from '../../release-signer.ts'
import { type Described, describeProposal } from './describe-proposal.ts'
import { releaseChanges } from './release-changes.ts'
import { type Call, type Meant, parseMeant, proposalText, siteCall } from './site-releases.ts'
import { storeSynopsis, storeWords } from './store-options.ts'
import { verifiedView } from './verified-view.ts'

export const signCommand: Command = {
  synopsis: `sign NAME:VERSION|root|targets|NAME ${signerSynopsis} ${storeSynopsis} [--yes]`,
  summary:
    'Show what is to be signed beside what the release keys have signed so far, and add one signature to it. The first to sign NAME:VERSION proposes its release by that.',
  run: async (args, out) => {
    const words = parse(args, { ...signerWords, ...storeWords, yes: { type: 'boolean' } }, [1, 1])
    const meant = parseMeant(words.positionals[0] ?? '')
    const isSure = words.flag('yes')
    if (!isSure && (!process.stdin.isTTY || out.json)) throw usage('without a terminal, --yes must be said')
    const { site } = await readLogin()
    const view = await verifiedView(
      { dir: siteFolder(site), fetch: releaseMetadata(site) },
      meant.role,
      out.signal,
    )
    const call = await siteCall()
    const { detail, isProposedHere } = await readOrPropose(call, meant)
    const described = describeProposal(meant, detail, view.published)
    const lines = [...view.lines, ...described.lines, ...(await ownLines(words, described, out.signal))]
    for (const line of lines) out.say(line)
    if (!isSure) await confirm(meant, isProposedHere)
    const signer = await openSigner(words, out.signal)
    await view.pin()
    // Who has ended it does not sign.
    out.signal.throwIfAborted()
    const signature = await signMetadata(described.metadata, signer)
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

async function readOrPropose(
  call: Call,
  { role, version }: Meant,
): Promise<{ readonly detail: ProposalDetail; readonly isProposedHere: boolean }> {
  const read = (): Promise<ProposalDetail> => call('GET', `/releases/proposals/${role}`, proposalDetail)
  try {
    return { detail: await read(), isProposedHere: false }
  } catch (error) {
    if (!(error instanceof ApiRefusal) || error.code !== 'NOT_FOUND' || version === undefined) throw error
    await call('POST', `/releases/images/${role}/releases`, proposalView, { version })
    return { detail: await read(), isProposedHere: true }
  }
}

/** What this account knows by itself of the image that is released. */
async function ownLines(
  words: Parsed,
  { added, previous }: Described,
  signal: AbortSignal,
): Promise<readonly string[]> {
  if (added === undefined) return []
  const own = await madeHere(parseReference(added.content.replace('/', ':')))
  return [
    ...(previous === undefined ? [] : await releaseChanges(words, added, previous, signal)),
    ...(own === undefined
      ? []
      : [
          own === `sha256:${added.manifestDigest}`
            ? '  It is the image that this account imported.'
            : '  WARNING: this account imported another image under this version.',
        ]),
  ]
}

async function confirm({ role }: Meant, isProposedHere: boolean): Promise<void> {
  if ((await ask('Type yes to sign this: ', false)) === 'yes') return
  const left = isProposedHere
    ? ` It was proposed and awaits others; to drop it: trustcast image withdraw ${role}`
    : ''
  throw new CliError('CLI_NOT_CONFIRMED', 'it was not signed', {
    remedy: `Type yes to sign, all of it.${left}`,
  })
}
