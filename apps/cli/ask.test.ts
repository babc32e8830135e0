import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const ask = fileURLToPath(new URL('ask.ts', import.meta.url))

test.each([false, true])(
  'on a terminal a question is there when it is answered (secret: %s)',
  async (isSecret) => {
    const program = `const { ask } = await import(process.env.ASK)
    console.log('answered:' + await ask('Is it so? ', ${isSecret}))`
    const { stdout, stdin } = spawn(
      'script',
      ['-qec', '"$NODE" --input-type=module -e "$PROGRAM"', '/dev/null'],
      {
        env: { ...process.env, ASK: ask, NODE: process.execPath, PROGRAM: program, TERM: 'xterm' },
      },
    )
    let screen = ''
    let isTyped = false
    for await (const bytes of stdout) {
      screen += String(bytes)
      // When this program asks, the cursor waits behind the question.
      if (!isTyped && screen.includes('Is it so?')) isTyped = stdin.write('yes\n')
      if (screen.includes('answered:')) stdin.end()
    }
    const [asked = ''] = screen.split('answered:')
    // What stands after the last time that the screen was cleared from the cursor on is what a person sees.
    expect(asked.split('\u001b[0J').at(-1)).toContain('Is it so? ')
    expect(asked.includes('yes')).toBe(!isSecret)
    expect(screen).toContain('answered:yes')
  },
)
