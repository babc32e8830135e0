import { execFile } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, readlink, rm, stat } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { networkInterfaces, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { NbdServer } from '#adapters/nbd-server/index.ts'
import { endsWithin, type QemuVm, startQemu } from '#adapters/vm-qemu/index.ts'
import { memoryDevice } from '#core/block/memory-device.fixture.ts'
import { type VmConfig, vmConfigFile } from '#core/vm/index.ts'
import { linuxGuest, saidOn } from './linux-guest.rig.ts'
import { createLan } from './network-namespace.rig.ts'
import { until } from './running-site.rig.ts'
import { marker, markerAt, personAt, tinyDisk } from './tiny-guest.rig.ts'

/** A virtual machine as QEMU runs it: what it can reach, and that it ends. */

const run = promisify(execFile)
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tc-vm-'))
})

afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
})

const configOf = (more: object = {}): VmConfig => vmConfigFile.parse({ memoryMiB: 32, ...more })

interface Started extends AsyncDisposable {
  readonly vm: QemuVm
  readonly disk: Buffer
}

async function start(config: VmConfig, linux?: Buffer, warned: unknown[] = []): Promise<Started> {
  const disk = linux ?? tinyDisk(4)
  const device = memoryDevice(disk)
  const server = new NbdServer({ exports: [{ name: 'disk', description: '', device }] })
  const vm = await startQemu({
    config,
    dir: join(folder, `vm-${performance.now()}`),
    serveDisk: (stream) => void server.serve(stream),
    warn: (error) => warned.push(error),
  })
  return {
    vm,
    disk,
    [Symbol.asyncDispose]: async () => {
      await vm[Symbol.asyncDispose]()
      await server.close()
    },
  }
}

test.each([
  ['q35', 'virtio'],
  ['q35', 'sata'],
  ['pc', 'virtio'],
  ['pc', 'sata'],
] as const)('a guest boots on %s from a %s disk, sees keys, and writes', async (machine, disk) => {
  await using started = await start(configOf({ machine, devices: { disk } }))
  const person = personAt(connect(started.vm.displaySocket))
  await person.ready
  await typed(person, started, 'k')
  expect(person.pictures).toBeGreaterThan(0)
})

test('firmware of the UEFI kind comes up, with variables of its own', async () => {
  await using started = await start(configOf({ firmware: 'uefi', memoryMiB: 256 }))
  expect(await started.vm.monitor.status()).toBe('running')
  const person = personAt(connect(started.vm.displaySocket))
  await person.ready
  await until(() => person.pictures > 0, 'there is a picture')
})

test('it is paused, goes on, and ends when it is told to, or killed', async () => {
  await using started = await start(configOf())
  const { vm } = started
  const person = personAt(connect(vm.displaySocket))
  await person.ready
  await typed(person, started, 'a')
  const seen: string[] = []
  vm.monitor.on('event', (name) => seen.push(name))
  await vm.monitor.pause()
  expect(await vm.monitor.status()).toBe('paused')
  await vm.monitor.continue()
  expect(await vm.monitor.status()).toBe('running')
  await typed(person, started, 'b')
  await vm.monitor.quit()
  expect(await endsWithin(vm, 20_000)).toBe(true)
  expect(seen).toContain('STOP')
  await expect(vm.monitor.status()).rejects.toMatchObject({ code: 'VM_GONE' })
})

test.each(['bios', 'uefi'] as const)(
  'its process, with %s, has open what it was handed, firmware, and files of its own folder',
  async (firmware) => {
    await using started = await start(configOf({ firmware, memoryMiB: 256 }))
    const { pid, displaySocket } = started.vm
    const folder = `/proc/${pid}/fd`
    const names = await Promise.all((await readdir(folder)).map((fd) => readlink(join(folder, fd))))
    const isItsOwn = (name: string): boolean =>
      /^(pipe|socket|anon_inode):/.test(name) ||
      ['/dev/null', '/dev/kvm', '/usr/share/OVMF/OVMF_CODE_4M.fd'].includes(name) ||
      name.startsWith(`${dirname(displaySocket)}/`)
    expect(names.filter((name) => !isItsOwn(name))).toEqual([])
    expect(names.filter((name) => name.startsWith('socket:')).length).toBeGreaterThan(2)
    expect(await readlink(`/proc/${pid}/cwd`)).toBe(dirname(displaySocket))
  },
)

test('its process has an account of its own, no network, no privileges and no other files of its account', async () => {
  await using started = await start(configOf())
  const { pid, displaySocket, accelerator } = started.vm
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  expect(status).toMatch(/^Uid:\s+(19\d{8})\s+\1\s+\1\s+\1$/m)
  expect(status).toMatch(/^Cap(Eff|Prm|Bnd):\s+0{16}$/m)
  expect(status).toMatch(/^NoNewPrivs:\s+1$/m)
  expect(status).toMatch(/^Seccomp:\s+2$/m)
  const groups = accelerator === 'kvm' ? [String((await stat('/dev/kvm')).gid)] : []
  expect(/^Groups:[ \t]*(.*?)[ \t]*$/m.exec(status)?.[1]).toBe(groups.join(' '))
  expect((await stat(displaySocket)).mode & 0o777).toBe(0o600)
  const { stdout } = await run('nsenter', [`--net=/proc/${pid}/ns/net`, 'ip', '-o', 'link'])
  expect(stdout.trim().split('\n')).toHaveLength(1)
})

test('it may reach what its release lists and nothing else, by name and by address', async () => {
  const server = createServer((socket) => socket.end('hello from outside'))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  const allow = [
    { host: '127.0.0.1', ports: [port] },
    { host: 'listed.example', ports: [port] },
    { host: 'localhost', ports: [port] },
  ]
  const network = { kind: 'user', model: 'virtio', allow }
  const warned: unknown[] = []
  await using started = await start(configOf({ network }), undefined, warned)
  // What a guest dials, QEMU dials for it in this network.
  const inside = async (address: string, to: number): Promise<string> => {
    const script = `exec 3<>/dev/tcp/${address}/${to} && timeout 5 cat <&3`
    const words = [`--net=/proc/${started.vm.pid}/ns/net`, 'bash', '-c', script]
    return run('nsenter', words, { timeout: 10_000 }).then(
      ({ stdout }) => stdout,
      () => 'refused',
    )
  }
  expect(await inside('127.0.0.1', port)).toBe('hello from outside')
  // Listed, but no such name exists.
  expect(await inside('198.18.0.2', port)).toBe('')
  // However often a guest dials what is not listed, the log of the device is not filled.
  for (let times = 0; times < 2; times += 1) expect(await inside('203.0.113.9', port)).toBe('')
  expect(warned.filter((error) => String(error).includes('203.0.113.9'))).toHaveLength(1)
  expect(await inside('127.0.0.1', port - 1)).toBe('refused')
  // Listed by a name, this machine itself is not meant.
  expect(await ask(started.vm.pid, 'localhost')).toBe('198.18.0.3')
  expect(await inside('198.18.0.3', port)).toBe('')
  expect(await ask(started.vm.pid, 'listed.example')).toBe('198.18.0.2')
  expect(await ask(started.vm.pid, 'evil.example')).toBe('none')
  server.close()
})

test('neither datagrams nor IPv6 leave it, also to what its release lists', async () => {
  const here = Object.values(networkInterfaces()).flatMap((all) => all ?? [])
  const addresses = [...new Set(['127.0.0.1', '::1', ...here.map(({ address }) => address)])].filter(
    (address) => !address.startsWith('fe80:'),
  )
  const heard: string[] = []
  const ear = createSocket({ type: 'udp6', ipv6Only: false })
  ear.on('message', (bytes) => heard.push(bytes.toString()))
  ear.bind(0, '::')
  await once(ear, 'listening')
  const { port } = ear.address()
  const server = createServer((socket) => socket.end('hello from outside'))
  server.listen(port, '::')
  await once(server, 'listening')
  const allow = addresses.filter((address) => !address.includes(':')).map((host) => ({ host, ports: [port] }))
  await using started = await start(configOf({ network: { kind: 'user', model: 'virtio', allow } }))
  // The same words from outside arrive: it is not this machine that keeps them.
  for (const address of addresses) {
    await run(process.execPath, ['-e', sendTo(address, port, 'outside')])
    await run('nsenter', [
      `--net=/proc/${started.vm.pid}/ns/net`,
      process.execPath,
      '-e',
      sendTo(address, port, 'inside'),
    ])
  }
  await until(() => heard.length >= addresses.length, 'those from outside arrived')
  await new Promise((resolve) => setTimeout(resolve, 300))
  expect(new Set(heard)).toEqual(new Set(['outside']))
  for (const address of addresses.filter((one) => one.includes(':'))) {
    const script = `exec 3<>/dev/tcp/${address}/${port} && timeout 5 cat <&3`
    const words = [`--net=/proc/${started.vm.pid}/ns/net`, 'bash', '-c', script]
    expect((await run('bash', ['-c', script])).stdout).toBe('hello from outside')
    await expect(run('nsenter', words, { timeout: 10_000 })).rejects.toThrow()
  }
  expect(await ask(started.vm.pid, 'localhost')).toBe('none')
  server.close()
  ear.close()
})

test('a real guest reaches what its release lists and nothing else; one that is given no network has none', async () => {
  await using leaving = new AsyncDisposableStack()
  const lan = leaving.use(await createLan())
  const arrived: string[] = []
  const serve = async (what: string): Promise<number> => {
    const server = createServer((socket) => {
      arrived.push(what)
      socket.end(`hello from ${what}\n`)
    })
    leaving.defer(() => void server.close())
    server.listen(0, '0.0.0.0')
    await once(server, 'listening')
    return (server.address() as { port: number }).port
  }
  const [listed, other] = [await serve('listed'), await serve('other')]
  const ear = createSocket('udp4')
  leaving.defer(() => void ear.close())
  ear.on('message', () => arrived.push('datagram'))
  ear.bind(listed, '0.0.0.0')
  await once(ear, 'listening')
  const here = lan.gateway
  const elsewhere = leaving.use(await createLan()).gateway
  const guest = await linuxGuest(
    await mkdtemp(join(folder, 'guest-')),
    `say() { echo "$1: $(shift; timeout 8 "$@" < /dev/null 2> /dev/null | tail -n 2 | tr '\\n' ' ')"; }
echo "cards: $(ls /sys/class/net | grep -vc lo)"
ip link set eth0 up
ip address add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
echo 'nameserver 10.0.2.3' > /etc/resolv.conf
say listed nc ${here} ${listed} &
say 'other port' nc ${here} ${other} &
say device nc 10.0.2.2 ${listed} &
say elsewhere nc ${elsewhere} ${listed} &
say 'other name' nslookup -type=a evil.example &
say 'listed name' nslookup -type=a listed.example &
say ping ping -c 1 ${here} &
say datagram tftp -g -r datagram -l - ${here} ${listed} &
wait
`,
  )
  const machine = { memoryMiB: 256, firmware: 'uefi' }
  const allow = ['listed.example', here].map((host) => ({ host, ports: [listed] }))
  const network = { kind: 'user', model: 'virtio', allow }
  await using limited = await start(configOf({ ...machine, network }), guest)
  await using none = await start(configOf({ ...machine, network: { kind: 'none' } }), Buffer.from(guest))
  for (const { disk } of [limited, none])
    await until(() => saidOn(disk) !== undefined, 'the guest has tried it all', 150_000)
  expect(said(limited.disk, 'cards')).toBe('1')
  expect(said(limited.disk, 'listed')).toBe('hello from listed')
  expect(said(limited.disk, 'listed name')).toContain('198.18.0.')
  expect(said(limited.disk, 'other name')).toContain('NXDOMAIN')
  for (const what of ['other port', 'device', 'elsewhere', 'datagram'])
    expect(said(limited.disk, what), what).toBe('')
  expect(said(limited.disk, 'ping')).not.toContain('bytes from')
  expect(said(none.disk, 'cards')).toBe('0')
  expect(said(none.disk, 'listed')).toBe('')
  expect(arrived).toEqual(['listed'])
}, 180_000)

/** What came of one thing that the guest has tried. */
function said(disk: Buffer, what: string): string {
  return new RegExp(`^${what}: *(.*?) *$`, 'm').exec(saidOn(disk) ?? '')?.[1] ?? 'nothing'
}

/** A program that sends one datagram; a network that refuses it is an answer, too. */
function sendTo(address: string, port: number, text: string): string {
  return `
    const socket = require('node:dgram').createSocket('${address.includes(':') ? 'udp6' : 'udp4'}')
    socket.send('${text}', ${port}, '${address}', () => socket.close())`
}

/** Presses a key until the guest has written it: one that boots may miss the first. */
async function typed(person: ReturnType<typeof personAt>, { disk }: Started, key: string): Promise<void> {
  const wanted = `${marker}${key}`
  let tries = 0
  await until(() => {
    if (tries++ % 20 === 0) person.type(key)
    return disk.subarray(markerAt, markerAt + wanted.length).toString('latin1') === wanted
  }, 'the guest has written what was typed')
}

/** Asks the VM's name server, as the guest's questions reach it. */
async function ask(pid: number, name: string): Promise<string> {
  const script = `
    const { createSocket } = require('node:dgram')
    const labels = '${name}'.split('.').flatMap((label) => [label.length, ...Buffer.from(label)])
    const socket = createSocket('udp4')
    socket.on('message', (answer) => {
      console.log(answer[7] === 1 ? [...answer.subarray(-4)].join('.') : 'none')
      socket.close()
    })
    socket.send(Uint8Array.from([1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...labels, 0, 0, 1, 0, 1]), 53, '192.0.2.53')`
  const words = [`--net=/proc/${pid}/ns/net`, process.execPath, '-e', script]
  return (await run('nsenter', words, { timeout: 10_000 })).stdout.trim()
}
