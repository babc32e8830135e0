import { execFile } from 'node:child_process'
import { mkdtemp, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'

const run = promisify(execFile)
const trustcast = resolve(import.meta.dirname, '../trustcast')
const unit = 'etc/systemd/system/trustcast-endpoint.service'
const desktop = 'usr/local/share/applications/trustcast.desktop'
const settings = 'etc/default/trustcast-endpoint'
const link = 'usr/local/bin/trustcast'

let root: string
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'tc-install-'))
})
afterAll(() => rm(root, { recursive: true }))

async function endpoint(...words: readonly string[]) {
  const { stdout } = await run(trustcast, ['endpoint', ...words, '--root', root, '--json'])
  const { files } = JSON.parse(stdout) as { files: { path: string; what: string }[] }
  return files.map(({ path, what }) => [path.slice(root.length + 1), what])
}

const inRoot = (path: string): Promise<string> => readFile(join(root, path), 'utf8')

test('install writes a unit and a desktop file that their own tools accept, and says what it wrote', async () => {
  expect(await endpoint('install', '--as', 'games', '--background-rate', '2M', '--network')).toEqual([
    [unit, 'written'],
    [desktop, 'written'],
    [link, 'written'],
    [settings, 'written'],
  ])
  expect(await readlink(join(root, link))).toBe(trustcast)
  expect(await inRoot(unit)).toContain(`ExecStart=${trustcast} endpoint $TRUSTCAST_ENDPOINT_OPTIONS`)
  expect(await inRoot(settings)).toContain(
    'TRUSTCAST_ENDPOINT_OPTIONS="--as games --background-rate 2M --network"',
  )
  expect((await run('systemd-analyze', ['verify', join(root, unit)])).stderr).toBe('')
  expect((await run('desktop-file-validate', [join(root, desktop)])).stdout).toBe('')
  expect(await inRoot(desktop)).toMatch(/^MimeType=x-scheme-handler\/trustcast;$/m)
  expect((await stat(join(root, unit))).mode & 0o777).toBe(0o644)
}, 60_000)

test('a desktop that looks for what opens trustcast:// finds it', async () => {
  const folder = join(root, 'usr/local/share/applications')
  await run('update-desktop-database', [folder])
  expect(await readFile(join(folder, 'mimeinfo.cache'), 'utf8')).toContain(
    'x-scheme-handler/trustcast=trustcast.desktop;',
  )
})

test('done again it changes nothing, and keeps what was chosen', async () => {
  expect(await endpoint('install')).toEqual([
    [unit, 'unchanged'],
    [desktop, 'unchanged'],
    [link, 'unchanged'],
    [settings, 'kept'],
  ])
  expect(await inRoot(settings)).toContain('--as games')
  expect((await endpoint('install', '--port', '9000')).at(-1)).toEqual([settings, 'written'])
})

test('words that a settings file cannot hold are refused before anything is written', async () => {
  await expect(run(trustcast, ['endpoint', 'install', '--root', root, '--as', 'a"b'])).rejects.toMatchObject({
    code: 2,
    stderr: expect.stringContaining('--as'),
  })
  await expect(
    run(trustcast, ['endpoint', 'install', '--root', root, '--background-rate', 'fast']),
  ).rejects.toMatchObject({ code: 2, stderr: expect.stringContaining('--background-rate') })
  expect(await inRoot(settings)).toContain('--port 9000')
})

test('uninstall removes all of it, and can be done again', async () => {
  for (const what of ['removed', 'not there']) {
    expect(await endpoint('uninstall')).toEqual([unit, desktop, link, settings].map((path) => [path, what]))
  }
})

test("somebody else's program of that name stays", async () => {
  await writeFile(join(root, link), 'another')
  expect(await endpoint('install')).toContainEqual([link, 'kept'])
  expect(await endpoint('uninstall')).toContainEqual([link, 'not there'])
  expect(await inRoot(link)).toBe('another')
})

test('where no endpoint is, status says so and what to do', async () => {
  const env = { ...process.env, TRUSTCAST_RUN: join(root, 'run'), TRUSTCAST_ENDPOINT: join(root, 'none') }
  await expect(run(trustcast, ['status'], { env })).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringMatching(
      /^AGENT_NOT_ENROLLED: .*\nMake a token in the console and enrol this machine/,
    ),
  })
})
