const attribute = 'security.capability'
/** By number. Source: linux/capability.h */
const names =
  'chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore'.split(
    ' ',
  )

/**
 * What a program may do beyond its user's rights, whoever starts it.
 *
 * Source: capabilities(7): revision and flags u32, then permitted u32, inheritable u32, twice from revision 2 on
 *
 * @param attributes of its file
 * @returns names such as `cap_net_raw`; of a value that is none of those, `unknown`
 */
export function capabilitiesIn(attributes: ReadonlyMap<string, Uint8Array>): readonly string[] {
  const value = attributes.get(attribute)
  if (value === undefined) return []
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength)
  if (value.length < 12 || (value.length < 20 && view.getUint8(3) > 1)) return ['unknown']
  const high = value.length < 20 ? 0 : view.getUint32(12, true) | view.getUint32(16, true)
  const bits = BigInt((view.getUint32(4, true) | view.getUint32(8, true)) >>> 0) + (BigInt(high >>> 0) << 32n)
  const numbers = Array.from({ length: 64 }, (_, number) => number)
  return numbers
    .filter((number) => ((bits >> BigInt(number)) & 1n) === 1n)
    .map((number) => `cap_${names[number] ?? number}`)
}
