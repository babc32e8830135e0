import { writeFile } from 'node:fs/promises'
import { createKeyFile, publicPathOf, readKeyFile } from '#adapters/release-key-file/index.ts'
import { listTokenKeys } from '#adapters/release-key-pkcs11/index.ts'
import { encodePublicKey, keyIdOf, keyLabel, type TufKey } from '#core/release/index.ts'
import { ask } from '../ask.ts'
import { CliError, usage } from '../cli-error.ts'
import { type Command, commandGroup, parse, table } from '../command.ts'
import { secretOf } from '../release-signer.ts'

export const key: Command = commandGroup('Keys of people who sign releases.', {
  create: async () => createCommand,
  show: async () => showCommand,
  list: async () => listCommand,
})

const createCommand: Command = {
  synopsis: 'create FILE [--name NAME] [--passphrase-file FILE]',
  summary:
    'Make a key: FILE, which only its passphrase opens, and FILE.pub, to hand to whoever names the keys of releases.',
  run: async (args, out) => {
    const words = parse(args, { name: { type: 'string' }, 'passphrase-file': { type: 'string' } }, [1, 1])
    const [path = ''] = words.positionals
    const passphrase = await secretOf(words, 'passphrase-file', 'TRUSTCAST_PASSPHRASE', 'New passphrase: ')
    const isTyped = words.text('passphrase-file') === undefined && process.stdin.isTTY
    if (isTyped && process.env['TRUSTCAST_PASSPHRASE'] === undefined) {
      if ((await ask('The same again: ', true)) !== passphrase) {
        throw new CliError('CLI_NOT_CONFIRMED', 'the two passphrases differ', { remedy: 'Nothing was made.' })
      }
    }
    const name = words.text('name')
    const made = await createKeyFile({ path, passphrase, ...(name === undefined ? {} : { name }) })
    out.result({ file: path, publicFile: publicPathOf(path), ...viewOf(made) }, () =>
      [
        `${path} holds the key, ${publicPathOf(path)} its public half`,
        `  id    ${keyIdOf(made)}`,
        'Without the passphrase it is lost: keep both, apart from each other.',
      ].join('\n'),
    )
  },
}

const showCommand: Command = {
  synopsis: 'show FILE | show --pkcs11 MODULE [--token LABEL] [--id ID] [--out PUBLICFILE]',
  summary: 'Say whose key a file holds, or write the public file of a key on a token. Needs no passphrase.',
  run: async (args, out) => {
    const options = { pkcs11: { type: 'string' }, token: { type: 'string' }, id: { type: 'string' } } as const
    const words = parse(args, { ...options, out: { type: 'string' } }, [0, 1])
    const [file] = words.positionals
    const module = words.text('pkcs11')
    if ((file === undefined) === (module === undefined))
      throw usage('expected a FILE or --pkcs11, one of them')
    const shown =
      file === undefined
        ? await tokenKey(module ?? '', words.text('token'), words.text('id'), out.signal)
        : await readKeyFile(file)
    const target = words.text('out')
    if (target !== undefined) await writeFile(target, encodePublicKey(shown), { flag: 'wx' })
    out.result(viewOf(shown), () => `${keyLabel(shown)}\n  id    ${keyIdOf(shown)}\n  kind  ${shown.scheme}`)
  },
}

const listCommand: Command = {
  synopsis: 'list --pkcs11 MODULE [--token LABEL]',
  summary: 'The keys of a token that can sign releases: ECDSA P-256, on PIV tokens in slot 9c.',
  run: async (args, out) => {
    const words = parse(args, { pkcs11: { type: 'string' }, token: { type: 'string' } }, [0, 0])
    const module = words.text('pkcs11')
    if (module === undefined) throw usage('expected --pkcs11 MODULE')
    const keys = await listTokenKeys({ module, token: words.text('token') }, out.signal)
    out.result(
      keys.map(({ id, label, publicKey }) => ({ id, label, ...viewOf(publicKey) })),
      () =>
        table(
          ['id', 'label', 'key id'],
          keys.map(({ id, label, publicKey }) => [id, label, keyIdOf(publicKey)]),
        ),
    )
  },
}

async function tokenKey(
  module: string,
  token: string | undefined,
  id: string | undefined,
  signal: AbortSignal,
): Promise<TufKey> {
  const keys = await listTokenKeys({ module, token }, signal)
  const [found, another] = id === undefined ? keys : keys.filter((one) => one.id === id.toLowerCase())
  if (found !== undefined && another === undefined) return found.publicKey
  throw usage(
    `name one key by --id: ${keys.map((one) => `${one.id} (${one.label})`).join(', ') || 'there is none'}`,
  )
}

function viewOf(shown: TufKey) {
  return { keyId: keyIdOf(shown), name: keyLabel(shown), key: shown }
}
