import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, copyFile, mkdir, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { createConnection, type Socket } from 'node:net'
import { basename, join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { makeTpm } from '#adapters/tpm/swtpm.rig.ts'

/**
 * A whole machine in QEMU: UEFI firmware that measures its boot into a TPM, Debian's kernel, systemd. Its system is this machine's own, read
 * only, with what it writes in memory; `/var/lib/trustcast` is an encrypted disk that stays. Secure Boot is on. It has one processor: with
 * two, emulated by a thread each (QEMU 7.2), one in five Node that compiled WebAssembly, as every one does that strips types, died of code
 * that was changed under it.
 */
export interface WholeMachine extends AsyncDisposable {
  /** PEM: who certified its TPM. */
  readonly tpmAuthority: string
  /** Turns it on and waits until it can be told what to do. */
  turnOn(): Promise<void>
  /** Puts a file into the initial file system, as somebody would who has the machine in their hands. */
  meddle(): Promise<void>
  /** Pulls the plug. */
  turnOff(): Promise<void>
  /** Runs a script as root. @returns what it wrote to its output @throws when it fails, with that and its complaints */
  run(script: string): Promise<string>
  /** A folder here, and where the machine has it. */
  readonly shared: { readonly here: string; readonly there: string }
}

const execute = promisify(execFile)
const megabytes = 64 * 1024 * 1024
const there = '/run/guest'
const diskBytes = 1024 ** 3
/** Without KVM. */
const bootMs = 400_000
/** Firmware with Secure Boot on, and the key that it trusts: everybody has the private half of it, with this passphrase. */
const firmware = {
  code: '/usr/share/OVMF/OVMF_CODE_4M.secboot.fd',
  variables: '/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd',
  key: '/usr/share/ovmf/PkKek-1-snakeoil.key',
  certificate: '/usr/share/ovmf/PkKek-1-snakeoil.pem',
  passphrase: 'snakeoil',
}
/** What the first file system needs to find the system. */
const modules = ['virtio_pci', '9pnet_virtio', '9p', 'overlay']

const init = `#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
while read -r module; do $b insmod "/lib/$module"; done < /modules
o=trans=virtio,version=9p2000.L,msize=524288
$b mount -t 9p -o $o,ro,cache=loose system /lower
$b mount -t tmpfs -o mode=755 tmpfs /written
$b mkdir /written/upper /written/work
$b mount -t overlay -o lowerdir=/lower,upperdir=/written/upper,workdir=/written/work overlay /new
$b mount -t tmpfs -o mode=755 tmpfs /new/run
$b mkdir -p /new${there} /new/run/systemd/system /new/usr/lib/modules /new/var/lib/trustcast
# It would empty /tmp, file by file.
$b ln -s /dev/null /new/run/systemd/system/systemd-tmpfiles-setup.service
$b mount -t 9p -o $o shared /new${there}
$b cp /new${there}/units/* /new/run/systemd/system/
$b mount --bind /new${there}/modules /new/usr/lib/modules
echo '10.0.2.2 localhost' > /new/etc/hosts
echo whole-machine > /new/etc/hostname
# It is no container, whatever this system runs in.
$b rm -f /new/.dockerenv /new/etc/machine-id
$b touch /new/etc/machine-id
exec $b switch_root /new /lib/systemd/systemd --unit=guest.target
`

const units = {
  'guest.target': `[Unit]
Wants=guest-shell.service systemd-udevd.service systemd-udev-trigger.service systemd-modules-load.service
`,
  // The machine's second serial line takes the number of a script and answers with it and how it ended.
  'guest-shell.service': `[Unit]
After=systemd-udev-trigger.service systemd-modules-load.service
DefaultDependencies=no
[Service]
ExecStart=/bin/sh ${there}/shell.sh
StandardInput=tty
StandardOutput=tty
TTYPath=/dev/ttyS1
KillMode=process
`,
}

const shell = `stty -echo
modprobe -a virtio_net dm_crypt ext4
udevadm settle
ip link set lo up
for card in /sys/class/net/e*; do ip link set "\${card##*/}" up; ip address add 10.0.2.15/24 dev "\${card##*/}"; done
ip route add default via 10.0.2.2
head -c 32 /dev/zero > /run/disk-key
cryptsetup isLuks /dev/vda || { new=1; cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 /dev/vda /run/disk-key; }
cryptsetup open --key-file /run/disk-key /dev/vda kept
[ -z "$new" ] || mke2fs -q -t ext4 /dev/mapper/kept
mount /dev/mapper/kept /var/lib/trustcast
echo ready
while read -r number; do
  (cd /; sh -e ${there}/scripts/$number) > ${there}/scripts/$number.said 2> ${there}/scripts/$number.complained < /dev/null
  echo "ended $number $?"
done
`

/** @param folder an empty one of its own, without spaces in its path, which the caller removes */
export async function buildMachine(folder: string): Promise<WholeMachine> {
  const shared = join(folder, 'shared')
  for (const one of ['units', 'scripts']) await mkdir(join(shared, one), { recursive: true })
  for (const [name, text] of Object.entries(units)) await writeFile(join(shared, 'units', name), text)
  await writeFile(join(shared, 'shell.sh'), shell)
  const kernel = await unpackKernel(join(folder, 'kernel'))
  await execute('cp', ['-al', join(kernel.root, 'lib/modules'), join(shared, 'modules')])
  const firstFiles = await packFirstFiles(folder, kernel)
  const variables = join(folder, 'variables.fd')
  await copyFile(firmware.variables, variables)
  const disk = join(folder, 'disk.img')
  await writeFile(disk, '')
  await truncate(disk, diskBytes)
  const tpm = await makeTpm(join(folder, 'tpm'))
  const tpmControl = join(folder, 'tpm-control')
  const control = join(folder, 'control')
  const words = [
    '-accel tcg -machine q35,smm=on -smp 1 -m 2048 -display none -no-reboot',
    '-global driver=cfi.pflash01,property=secure,value=on',
    `-drive if=pflash,format=raw,readonly=on,file=${firmware.code}`,
    `-drive if=pflash,format=raw,file=${variables}`,
    `-drive if=virtio,format=raw,file=${disk}`,
    `-chardev socket,id=tpm,path=${tpmControl} -tpmdev emulator,id=tpm,chardev=tpm -device tpm-tis,tpmdev=tpm`,
    '-virtfs local,path=/,mount_tag=system,security_model=none,readonly=on,multidevs=remap',
    `-virtfs local,path=${shared},mount_tag=shared,security_model=none`,
    '-netdev user,id=net -device virtio-net-pci,netdev=net',
    `-serial stdio -chardev socket,id=control,path=${control},server=on,wait=off -serial chardev:control`,
    `-kernel ${kernel.image} -initrd ${firstFiles} -append console=ttyS0`,
  ].flatMap((line) => line.split(' '))
  let running: readonly ChildProcess[] = []
  let line: RemoteShell | undefined
  const turnOff = async (): Promise<void> => {
    line?.close()
    line = undefined
    // QEMU first, or it would see its TPM go.
    for (const child of running) await end(child)
    running = []
  }
  return {
    tpmAuthority: tpm.authority,
    shared: { here: shared, there },
    meddle: async () => {
      await writeFile(join(folder, 'first/left-by-somebody'), '')
      await pack(folder)
    },
    turnOn: async () => {
      await rm(control, { force: true })
      const chip = await startTpm(tpm.state, tpmControl)
      running = [chip]
      const computer = spawn('qemu-system-x86_64', words, { stdio: ['ignore', 'pipe', 'pipe'] })
      running = [computer, chip]
      line = await openShell(computer, control, join(shared, 'scripts'))
    },
    turnOff,
    run: async (script) => {
      if (line === undefined) throw new Error('the machine is off')
      return line.run(script)
    },
    [Symbol.asyncDispose]: turnOff,
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGKILL')
  await gone
}

/** Its power is the machine's. */
async function startTpm(state: string, control: string): Promise<ChildProcess> {
  await rm(control, { force: true })
  const words = `socket --tpm2 --tpmstate dir=${state} --ctrl type=unixio,path=${control} --flags startup-clear`
  const child = spawn('swtpm', words.split(' '), { stdio: 'ignore' })
  for (let tries = 0; (await stat(control).catch(() => undefined)) === undefined; tries++) {
    if (tries > 400 || child.exitCode !== null) throw new Error('swtpm does not start')
    await sleep(25)
  }
  return child
}

interface Kernel {
  readonly image: string
  readonly version: string
  /** The folder that has `lib/modules`. */
  readonly root: string
}

/** Debian's own, as it is for every machine, signed for this one's firmware. */
async function unpackKernel(folder: string): Promise<Kernel> {
  await mkdir(folder, { recursive: true })
  // `apt` may not write where only root may, and says so.
  await chmod(folder, 0o755)
  const { stdout } = await execute('apt-cache', ['depends', 'linux-image-amd64'])
  const [, name] = /Depends: (linux-image-\S+)/.exec(stdout) ?? []
  if (name === undefined) throw new Error(`linux-image-amd64 depends on no kernel:\n${stdout}`)
  await execute('apt-get', ['download', '-qq', name], { cwd: folder, maxBuffer: megabytes })
  const [packed = ''] = (await readdir(folder)).filter((file) => file.endsWith('.deb'))
  const root = join(folder, 'root')
  await execute('dpkg-deb', ['-x', join(folder, packed), root])
  await rm(join(folder, packed))
  const version = name.slice('linux-image-'.length)
  await execute('depmod', ['-b', root, version])
  const image = join(folder, 'kernel.signed')
  const { key, certificate, passphrase } = firmware
  const plainKey = join(folder, 'signer.key')
  await execute('openssl', ['rsa', '-in', key, '-passin', `pass:${passphrase}`, '-out', plainKey])
  const unsigned = join(root, 'boot', `vmlinuz-${version}`)
  await execute('sbsign', ['--key', plainKey, '--cert', certificate, '--output', image, unsigned])
  return { image, version, root }
}

/** The initial file system: busybox and the few modules with which the rest is found. @returns its path */
async function packFirstFiles(folder: string, { root, version }: Kernel): Promise<string> {
  const files = join(folder, 'first')
  for (const one of ['bin', 'lib', 'proc', 'dev', 'lower', 'written', 'new'])
    await mkdir(join(files, one), { recursive: true })
  await copyFile('/bin/busybox', join(files, 'bin/busybox'))
  await writeFile(join(files, 'init'), init, { mode: 0o755 })
  const wanted = new Set<string>()
  for (const module of modules) {
    const { stdout } = await execute('modprobe', ['-d', root, '-S', version, '--show-depends', module])
    for (const [, path = ''] of stdout.matchAll(/^insmod (\S+)/gm)) wanted.add(path)
  }
  for (const path of wanted) await copyFile(path, join(files, 'lib', basename(path)))
  await writeFile(join(files, 'modules'), [...wanted].map((path) => `${basename(path)}\n`).join(''))
  return pack(folder)
}

async function pack(folder: string): Promise<string> {
  const packed = join(folder, 'first.cpio')
  await execute('/bin/sh', ['-c', `find . | busybox cpio -o -H newc > ${packed}`], {
    cwd: join(folder, 'first'),
  })
  return packed
}

interface RemoteShell {
  run(script: string): Promise<string>
  close(): void
}

async function openShell(machine: ChildProcess, control: string, scripts: string): Promise<RemoteShell> {
  let said = ''
  for (const stream of [machine.stdout, machine.stderr]) stream?.on('data', (text) => (said += String(text)))
  const line = await dial(control)
  const answers = createInterface(line)[Symbol.asyncIterator]()
  const answer = async (pattern: RegExp): Promise<RegExpExecArray> => {
    for (;;) {
      const { value, done } = await answers.next()
      if (done === true) throw new Error(`the machine is gone:\n${said.slice(-4096)}`)
      const found = pattern.exec(value)
      if (found !== null) return found
    }
  }
  const late = sleep(bootMs, undefined, { ref: false }).then(() => {
    throw new Error(`the machine does not come up:\n${said.slice(-4096)}`)
  })
  await Promise.race([answer(/^ready/), late])
  let number = 0
  return {
    run: async (script) => {
      number += 1
      await writeFile(join(scripts, String(number)), script)
      line.write(`${number}\n`)
      const [, status] = await answer(new RegExp(`^ended ${number} (\\d+)`))
      const [words = '', complaints = ''] = await Promise.all(
        ['said', 'complained'].map(async (kind) => readFile(join(scripts, `${number}.${kind}`), 'utf8')),
      )
      if (status !== '0') throw new Error(`${script}\nended with ${status}:\n${words}\n${complaints}`)
      return words
    },
    close: () => line.destroy(),
  }
}

async function dial(path: string): Promise<Socket> {
  for (let tries = 0; ; tries++) {
    const socket = createConnection(path)
    socket.on('error', () => undefined)
    try {
      await once(socket, 'connect')
      return socket
    } catch (error) {
      if (tries > 200) throw error
      await sleep(50)
    }
  }
}
