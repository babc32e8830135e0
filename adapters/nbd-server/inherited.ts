import { fstatSync } from 'node:fs'
import { Socket } from 'node:net'
import { Duplex } from 'node:stream'

const firstDescriptor = 3

/**
 * The listening sockets that systemd, or whoever does as it does, hands to this process.
 *
 * Source: sd_listen_fds(3): LISTEN_PID says for whom, LISTEN_FDS how many, from descriptor 3 on
 *
 * @returns none when there are none, or when they are for another process
 */
export function activatedDescriptors(environment: NodeJS.ProcessEnv, pid: number): readonly number[] {
  const { LISTEN_PID: forPid, LISTEN_FDS: count = '' } = environment
  if (forPid !== String(pid) || !/^[1-9]\d{0,2}$/.test(count)) return []
  return Array.from({ length: Number(count) }, (_, index) => firstDescriptor + index)
}

/** Standard input and output as one connection: one socket, as inetd gives it, or a stream for each direction. */
export function standardStreams(): Duplex {
  const [input, output] = [fstatSync(0), fstatSync(1)]
  if (input.isSocket() && input.ino === output.ino)
    return new Socket({ fd: 0, readable: true, writable: true, allowHalfOpen: true })
  return Duplex.from({ readable: process.stdin, writable: process.stdout })
}
