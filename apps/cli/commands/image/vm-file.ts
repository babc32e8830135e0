import { parseConfig } from '#core/config/parse-config.ts'
import { type VmConfig, vmConfigFile } from '#core/vm/index.ts'
import { readText } from '../../read-text.ts'

/** What a machine is like, from a file that an admin wrote. @throws {CliError} CLI_FILE_MISSING; {ConfigError} naming the line */
export async function readVmFile(path: string): Promise<VmConfig> {
  return parseConfig(await readText(path), vmConfigFile, path)
}
