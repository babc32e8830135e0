import { z } from 'zod'
import type { Observation } from '#core/evidence/observation.ts'
import type { ClaimName } from '#core/trust/index.ts'
import { observe } from '../observe.ts'
import type { CommandProbe, Judging } from '../probe.ts'
import { judgePrograms } from '../programs.ts'
import { parseJson } from '../read-text.ts'

/** Systems that osquery runs on and we know tables of. */
export type OsqueryPlatform = 'linux' | 'win32' | 'darwin'

type Row = Readonly<Record<string, string>>
type Judge = (rows: readonly Row[], judging: Judging) => readonly Observation[]

const rows = z.array(z.record(z.string(), z.coerce.string())).max(100_000)

/**
 * A second look at facts that other collectors look at, too, by `osqueryi --json`. It speaks only of what it can tell: where a table is
 * empty or missing, nothing is said.
 */
export const osqueryProbes: Readonly<Record<OsqueryPlatform, readonly CommandProbe[]>> = {
  // Not disk_encryption: it calls LVM on LUKS plain where it is asked for one device, and LUKS2 on OPAL disks.
  linux: [
    query(
      'boot',
      'endpoint.secureBoot',
      // Without variables of the firmware it has a row that says nothing, or -1.
      'SELECT secure_boot, setup_mode FROM secureboot WHERE secure_boot >= 0',
      (rows) =>
        onOff(
          'endpoint.secureBoot',
          rows,
          ({ secure_boot, setup_mode }) => secure_boot === '1' && setup_mode !== '1',
          'Secure Boot',
        ),
    ),
    query(
      'edr',
      'endpoint.edr',
      'SELECT pid, parent, name, path, cgroup_path FROM processes',
      judgeProcesses,
    ),
  ],
  win32: [
    query(
      'disks',
      'endpoint.diskEncryption',
      'SELECT drive_letter, conversion_status, protection_status FROM bitlocker_info',
      (rows) =>
        onOff(
          'endpoint.diskEncryption',
          rows,
          // 2 is said of a locked one. 1 may be kept from before the volume was decrypted.
          ({ conversion_status, protection_status }) =>
            protection_status === '2' || (protection_status === '1' && conversion_status !== '0'),
          'every volume',
        ),
    ),
    query('firewall', 'endpoint.firewall', 'SELECT firewall FROM windows_security_center', (rows) =>
      onOff('endpoint.firewall', rows, ({ firewall }) => firewall === 'Good', 'the firewall'),
    ),
    query('antivirus', 'endpoint.antivirus', 'SELECT antivirus FROM windows_security_center', (rows) =>
      onOff('endpoint.antivirus', rows, ({ antivirus }) => antivirus === 'Good', 'the antivirus'),
    ),
    query('edr', 'endpoint.edr', 'SELECT pid, parent, name, path FROM processes', judgeProcesses),
  ],
  darwin: [
    query(
      'disks',
      'endpoint.diskEncryption',
      "SELECT d.filevault_status FROM mounts m JOIN disk_encryption d ON m.device = d.name WHERE m.path = '/'",
      (rows) =>
        onOff(
          'endpoint.diskEncryption',
          rows,
          ({ filevault_status }) => filevault_status === 'on',
          'FileVault',
        ),
    ),
    query('firewall', 'endpoint.firewall', 'SELECT global_state FROM alf', (rows) =>
      onOff(
        'endpoint.firewall',
        rows,
        ({ global_state = '0' }) => global_state !== '0',
        'the application firewall',
      ),
    ),
    query('edr', 'endpoint.edr', 'SELECT pid, parent, name, path FROM processes', judgeProcesses),
  ],
}

function query(part: string, claim: ClaimName, sql: string, judge: Judge): CommandProbe {
  return {
    name: `osquery-${part}`,
    claims: [claim],
    command: ['osqueryi', '--json', sql],
    judge: ({ stdout }, judging) => {
      const found = parseJson(stdout, rows) ?? []
      return found.length === 0 ? [] : judge(found, judging)
    },
  }
}

/** What a row says that cannot tell: of FileVault, and on a Windows without a Security Center, as servers are. */
const untold: readonly string[] = ['unknown', 'Error', 'Not Monitored']

function onOff(
  claim: 'endpoint.diskEncryption' | 'endpoint.secureBoot' | 'endpoint.firewall' | 'endpoint.antivirus',
  rows: readonly Row[],
  isOn: (row: Row) => boolean,
  what: string,
): readonly Observation[] {
  const told = rows.filter((row) => !Object.values(row).some((value) => untold.includes(value)))
  if (told.length === 0) return []
  const value = told.every((row) => isOn(row)) ? 'on' : 'off'
  return [observe(claim, value, 'osquery', `${what}: ${value}`)]
}

function judgeProcesses(rows: readonly Row[], { rules }: Judging): readonly Observation[] {
  const facts = rows.map(({ pid = '', parent = '', name = '', path, cgroup_path }) => ({
    pid: Number(pid),
    parent: Number(parent),
    name,
    executable: path === '' ? undefined : path,
    group: cgroup_path,
  }))
  return judgePrograms('endpoint.edr', rules.edr, facts, 'osquery')
}
