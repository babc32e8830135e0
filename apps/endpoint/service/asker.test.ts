import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readlink, rm } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { askerOfUnix } from './asker.ts'

/** Who asks, as this machine's kernel says it. */

const nobody = 65534
let folder: string
const server = createServer()

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tc-asker-'))
  await chmod(folder, 0o755)
  server.listen(join(folder, 'socket'))
  await once(server, 'listening')
  await chmod(join(folder, 'socket'), 0o666)
})
afterAll(async () => {
  server.close()
  await rm(folder, { recursive: true })
})

/** Connects as nobody, then goes on as another program that inherits the connection. */
const goesOnAs = (program: string): string =>
  `use Socket; $^F = 255; socket(S, PF_UNIX, SOCK_STREAM, 0); connect(S, sockaddr_un("${folder}/socket")) or die; exec "${program}"`

test.each([
  ['of an ordinary program', '/usr/bin/cat', true],
  ['that was handed to a program which runs as root', '/usr/bin/passwd', false],
])('a connection %s is of the account that made it', async (_, program, isItsOwn) => {
  const connected = once(server, 'connection') as Promise<[Socket]>
  const child = spawn('perl', ['-e', goesOnAs(program)], {
    uid: nobody,
    gid: nobody,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  try {
    const [socket] = await connected
    await expect.poll(() => readlink(`/proc/${child.pid}/exe`)).toBe(program)
    const asker = await askerOfUnix(socket)
    expect(asker?.uid).toBe(nobody)
    expect(await asker?.findPid?.()).toBe(isItsOwn ? child.pid : undefined)
    socket.destroy()
  } finally {
    child.kill('SIGKILL')
  }
})
