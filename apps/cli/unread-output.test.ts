import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'

test('a command whose output nobody reads any more ends without a word, by the status of the signal', async () => {
  const child = spawn(join(import.meta.dirname, '../../trustcast'), ['help'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  child.stdout.destroy()
  const [[code], said] = await Promise.all([once(child, 'close'), text(child.stderr)])
  expect({ code: Number(code), said }).toEqual({ code: 141, said: '' })
})
