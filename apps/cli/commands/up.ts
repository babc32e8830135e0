import { resolve } from 'node:path'
import { runUp } from '#apps/up/up.ts'
import { usage } from '../cli-error.ts'
import { type Command, parse, table } from '../command.ts'
import { replaceLostOf, replaceLostOption } from '../replace-lost.ts'

export const up: Command = {
  synopsis:
    '[--state DIR] [--port N] [--demo] [--database postgres://…] [--hosts N] [--gateways N] [--warm N] [--tpm-authority FILE]… [--replace-lost KEY]…',
  summary:
    'A whole site on this machine. Prints `ready https://…` when it serves; ends with Ctrl-C. --state (/var/lib/trustcast) keeps everything, --port (8443) is the first of its ports.',
  run: async (args, out) => {
    const words = parse(
      args,
      {
        state: { type: 'string' },
        port: { type: 'string' },
        demo: { type: 'boolean' },
        database: { type: 'string' },
        hosts: { type: 'string' },
        gateways: { type: 'string' },
        warm: { type: 'string' },
        'tpm-authority': { type: 'string', multiple: true },
        ...replaceLostOption,
      },
      [0, 0],
    )
    const number = (name: string, fallback: number, least: number, most: number): number => {
      const value = Number(words.text(name) ?? fallback)
      if (!Number.isInteger(value) || value < least || value > most)
        throw usage(`--${name} takes a number from ${least} to ${most}`)
      return value
    }
    const options = {
      state: resolve(words.text('state') ?? '/var/lib/trustcast'),
      port: number('port', 8443, 1, 65_000),
      demo: words.flag('demo'),
      database: words.text('database'),
      hosts: number('hosts', 2, 1, 20),
      gateways: number('gateways', 2, 1, 20),
      warm: number('warm', 1, 0, 20),
      replaceLost: replaceLostOf(words),
      tpmAuthorities: words.list('tpm-authority').map((file) => resolve(file)),
    }
    const started = performance.now()
    await runUp(
      options,
      out.signal,
      (ready) => {
        out.result({ ready: ready.url, ...ready, state: options.state }, () => {
          const accounts = table(
            ['LOGIN', 'PASSWORD', ''],
            ready.accounts.map(({ login, password, about }) => [login, password, about]),
          )
          return [
            ...(ready.accounts.length > 0 ? [accounts, ''] : []),
            ...(ready.setup === undefined ? [] : [`Create the first admin here, once: ${ready.setup}`, '']),
            `State ${options.state}, started in ${((performance.now() - started) / 1000).toFixed(1)} s`,
            `Fingerprint of the authority: ${ready.fingerprint}`,
            `ready ${ready.url}`,
          ].join('\n')
        })
      },
      (line) => out.say(line),
    )
  },
}
