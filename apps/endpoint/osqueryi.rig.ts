import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** Rows of its tables. */
export type OsqueryTables = Readonly<
  Record<keyof typeof columns, readonly Readonly<Record<string, string | number>>[]>
>

/** As osquery's schema documents them, those that we ask for among others. */
const columns = {
  secureboot: 'secure_boot INTEGER, setup_mode INTEGER, secure_mode INTEGER',
  processes:
    'pid BIGINT, name TEXT, path TEXT, cmdline TEXT, state TEXT, cwd TEXT, uid BIGINT, gid BIGINT, parent BIGINT, cgroup_path TEXT',
}

/**
 * A stand-in for osquery's shell, which no Debian has: the tables of a test in SQLite, which osquery is made of, too. So what it is asked
 * has to be SQL that fits them, and every value is a text in its JSON.
 *
 * @returns the folder that the program `osqueryi` is in
 */
export async function makeOsqueryi(dir: string, tables: OsqueryTables): Promise<string> {
  const folder = join(dir, 'osquery')
  const path = join(folder, 'osqueryi')
  await mkdir(folder)
  await writeFile(
    path,
    `#!${process.execPath}
const { DatabaseSync } = require('node:sqlite')
const [flag, sql] = process.argv.slice(2)
if (flag === '--version') {
  console.log('osqueryi version 5.0.0')
} else {
  const database = new DatabaseSync(':memory:')
  const columns = ${JSON.stringify(columns)}
  for (const [table, rows] of Object.entries(${JSON.stringify(tables)})) {
    database.exec('create table ' + table + ' (' + columns[table] + ')')
    for (const row of rows) {
      const names = Object.keys(row)
      const places = names.map(() => '?')
      database.prepare('insert into ' + table + ' (' + names + ') values (' + places + ')').run(...Object.values(row))
    }
  }
  const texts = (row) => Object.fromEntries(Object.entries(row).map(([name, value]) => [name, String(value ?? '')]))
  console.log(JSON.stringify(database.prepare(sql).all().map(texts)))
}
`,
  )
  await chmod(path, 0o755)
  return folder
}
