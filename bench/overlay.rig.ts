import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { shell, uriOf } from './disk.rig.ts'

const run = promisify(execFile)

/** Random accesses of 4 KiB to what was written before, answered a second. */
export async function randomIo(
  socket: string,
  kind: 'randread' | 'randwrite',
  sizeMebibytes: number,
  seconds: number,
): Promise<number> {
  const words = [
    '--name=bench',
    '--ioengine=nbd',
    `--uri=${uriOf(socket)}`,
    `--rw=${kind}`,
    '--bs=4k',
    '--iodepth=32',
    `--size=${sizeMebibytes}M`,
    '--norandommap',
    '--time_based',
    `--runtime=${seconds}`,
    '--output-format=json',
  ]
  const { stdout } = await run('fio', words, { maxBuffer: 1 << 26 })
  const { jobs } = JSON.parse(stdout.slice(stdout.indexOf('{'))) as {
    jobs: { read: { iops: number }; write: { iops: number } }[]
  }
  const [job] = jobs
  return (kind === 'randread' ? job?.read.iops : job?.write.iops) ?? Number.NaN
}

/** Writes all of a disk once, from its start to its end. */
export async function fill(socket: string, mebibytes: number): Promise<void> {
  await shell(
    `fio --name=fill --ioengine=nbd --uri='${uriOf(socket)}' --rw=write --bs=1M --iodepth=4 --size=${mebibytes}M --end_fsync=1 --output-format=terse`,
  )
}

/** An encrypted qcow2 file of this size, and the words by which qemu-nbd serves it. */
export async function encryptedQcow2(path: string, mebibytes: number): Promise<readonly string[]> {
  const secret = 'secret,id=bench,data=bench'
  await shell(
    `qemu-img create -q --object ${secret} -f qcow2 -o encrypt.format=luks,encrypt.key-secret=bench,encrypt.iter-time=10 ${path} ${mebibytes}M`,
  )
  const image = `driver=qcow2,file.filename=${path},encrypt.key-secret=bench`
  return ['--object', secret, '--persistent', '--image-opts', image]
}
