import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const run = promisify(execFile)

/** What a file loads before its first line runs, as URLs. */
async function loadedBy(file: string): Promise<readonly string[]> {
  const script = `
    import { registerHooks } from 'node:module'
    import { findOwnModules } from '#apps/cli/own-modules.ts'
    const loaded = []
    registerHooks({ load: (url, context, next) => (loaded.push(url), next(url, context)) })
    findOwnModules()
    await import('#${file}')
    console.log(JSON.stringify(loaded))`
  const words = ['--input-type=module', '--disable-warning=ExperimentalWarning', '--eval', script]
  const { stdout } = await run(process.execPath, words, { cwd: join(import.meta.dirname, '../..') })
  return JSON.parse(stdout) as string[]
}

const schemas = /node_modules\/(zod|yaml)\/|\/core\/config\//

test('what imports a disk waits for no schemas', async () => {
  const loaded = await loadedBy('apps/cli/commands/image/import.ts')
  expect(loaded.filter((url) => schemas.test(url))).toEqual([])
})

test('what attaches a disk waits for no schemas, and for no store that it may not need', async () => {
  const loaded = await loadedBy('apps/cli/commands/disk/attach.ts')
  expect(loaded.filter((url) => schemas.test(url) || url.includes('/adapters/blobs-'))).toEqual([])
  expect(loaded.some((url) => url.endsWith('core/artifact/open-image.ts'))).toBe(true)
  const elsewhere = await loadedBy('apps/cli/commands/disk/attach-delivered.ts')
  expect(elsewhere.some((url) => url.includes('node_modules/zod/'))).toBe(true)
})
