import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { tokenAnswer } from '#core/api/admin.ts'
import { endpointClaimsAnswer } from '#core/api/evidence.ts'
import { formatLaunchUrl } from '#core/handoff/index.ts'
import { codeFor } from './endpoint-service.rig.ts'
import { diskWorkspace, publishForTest } from './published-release.rig.ts'
import { type RunningSite, type SignedInClient, startSite, until } from './running-site.rig.ts'
import { makeSmallDisk } from './small-disk.rig.ts'
import { buildMachine, type WholeMachine } from './whole-machine.rig.ts'

/** The endpoint as people have it: a machine with a firmware, a TPM, Debian's kernel with its drivers, and systemd. */

vi.setConfig({ testTimeout: 1_500_000, hookTimeout: 900_000 })

const trustcast = resolve(import.meta.dirname, '../trustcast')
const install = `${trustcast} endpoint install --as games --network`
/** Emulated, everything takes its time. */
const patienceMs = 600_000
let folder: string
let machine: WholeMachine
let site: RunningSite
let ada: SignedInClient
let nora: SignedInClient
let id: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tc-machine-'))
  machine = await buildMachine(folder)
  const authority = join(folder, 'tpm-authority.pem')
  await writeFile(authority, machine.tpmAuthority)
  site = await startSite({ args: ['--hosts', '1', '--gateways', '1', '--tpm-authority', authority] })
  ;[ada, nora] = [await site.signIn('ada'), await site.signIn('nora')]
  await using disk = await makeSmallDisk('lab', { lab: '/bin/sleep 86123' })
  await cp(disk.store, join(machine.shared.here, 'store'), { recursive: true })
  await cp(join(disk.store, '../keys'), join(machine.shared.here, 'keys'), { recursive: true })
  await publishForTest(ada, 'lab', { ...disk, store: `${machine.shared.there}/store` })
  const lab = diskWorkspace('lab', { modes: ['streamed-disk'] })
  await ada.send('PUT', `/admin/workspaces/${lab.id}`, lab, z.unknown())
  await machine.turnOn()
})

afterAll(async () => {
  await machine?.[Symbol.asyncDispose]()
  await site?.[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

async function claimOf(name: string) {
  const { claims } = await ada.get(`/endpoints/${id}/claims`, endpointClaimsAnswer)
  return claims.find((one) => one.name === name)
}

async function untilClaim(name: string, value: string): Promise<void> {
  await until(async () => (await claimOf(name))?.value === value, `${name} is ${value}`, patienceMs)
}

async function launchCode(): Promise<string> {
  const code = await codeFor(nora, { workspaceId: 'lab', endpointId: id })
  return formatLaunchUrl({ site: site.url, code })
}

/** Waits in the machine: asking it from here takes longer. */
async function untilThere(condition: string, what: string): Promise<void> {
  await machine.run(`for try in $(seq ${patienceMs / 1_000}); do if ${condition}; then exit 0; fi; sleep 0.5; done
    echo 'it never became true that ${what}'; journalctl --no-pager -n 40; exit 1`)
}

const application = 'pgrep -u games -f "sleep 86123" >/dev/null'

test('it is known by its TPM, and its firmware and kernel are attested by what they measured', async () => {
  const wish = { kind: 'endpoint', name: 'laptop' }
  const { token } = await ada.send('POST', '/admin/enrolment-tokens', wish, tokenAnswer)
  const said = await machine.run(`${trustcast} enroll ${site.url} --token ${token} --json`)
  const enrolled = z.looseObject({ id: z.string(), deviceKey: z.string() }).parse(JSON.parse(said))
  expect(enrolled.deviceKey).toBe('tpm')
  ;({ id } = enrolled)
  // An address opens on its person's own device alone.
  await ada.send('POST', `/admin/endpoints/${id}/owner`, { owner: 'nora' }, z.unknown())
  await machine.run(install)
  await untilClaim('endpoint.secureBoot', 'on')
  expect(await claimOf('endpoint.secureBoot')).toMatchObject({ source: 'attested' })
  expect(await claimOf('endpoint.bootState')).toMatchObject({ value: 'expected', source: 'attested' })
  expect(await claimOf('endpoint.deviceKey')).toMatchObject({ value: 'tpm', source: 'attested' })
  expect(await claimOf('endpoint.machine')).toMatchObject({ value: 'vm' })
})

test('as the service that systemd runs it may look at all that it is to look at', async () => {
  await machine.run(`
    nft 'table inet guest { chain in { type filter hook input priority 0; policy drop; ct state established,related accept; iif lo accept; }; }'
    printf 'Trustcast.Test.Text:0:*:54525553544341\n' > /var/lib/clamav/own.ndb
    mkdir -p /run/clamav
    printf '%s\n' 'DatabaseDirectory /var/lib/clamav' 'LocalSocket /run/clamav/clamd.ctl' 'Foreground yes' 'User root' > /etc/clamav/clamd.conf
    systemd-run --unit=clamd clamd`)
  const says = async (name: string, value: string): Promise<void> =>
    until(async () => (await claimOf(name))?.selfReported === value, `${name} says ${value}`, patienceMs)
  await says('endpoint.antivirus', 'on')
  await says('endpoint.firewall', 'on')
  await until(
    async () => (await claimOf('network.integrity'))?.detail?.includes('dhcp: ') === true,
    'DHCP',
    patienceMs,
  )
  expect((await claimOf('network.integrity'))?.detail).toContain('dhcp: nothing speaks against this network')
})

test('a root on LUKS is encrypted, with a plain volume beside it the machine is not', async () => {
  // Its own root is in memory: what looks is given the encrypted disk for one.
  const said = await machine.run(`unshare -m sh -e -c '
    cd /var/lib/trustcast
    for one in /*; do [ ! -d "$one" ] || { mkdir -p ".$one"; mount --rbind "$one" ".$one"; }; done
    mkdir -p was
    pivot_root . was
    umount -l was
    ${trustcast} posture --json
    truncate -s 16M /run/plain
    modprobe loop
    dmsetup create plain --table "0 32768 linear $(losetup -f --show /run/plain) 0"
    mke2fs -q /dev/mapper/plain
    mount /dev/mapper/plain /mnt
    ${trustcast} posture --json
    umount /mnt
    dmsetup remove plain
    losetup -D'`)
  const found = z.looseObject({ observations: z.array(z.looseObject({ claim: z.string() })) })
  const [without, beside] = said
    .trim()
    .split('\n')
    .map((line) => found.parse(JSON.parse(line)))
    .map(({ observations }) => observations.find(({ claim }) => claim === 'endpoint.diskEncryption'))
  expect(without).toMatchObject({ value: 'on', detail: 'encrypted: root' })
  expect(beside).toMatchObject({ value: 'off', detail: 'not encrypted: 1 data' })
})

test('a disk streams to it, and is taken back when clamd stops', async () => {
  // Also where the kernel has a client of its own: see decision 20.
  await machine.run(`modprobe nbd; ${trustcast} open '${await launchCode()}'`)
  await untilThere(application, 'the application runs')
  await machine.run('pgrep nbdfuse; systemctl stop clamd')
  await untilThere(`! ${application}`, 'the application is gone')
  expect(await machine.run(`${trustcast} status`)).toContain('antivirus')
  await machine.run('systemctl reset-failed; systemd-run --unit=clamd clamd')
  await until(async () => (await claimOf('endpoint.antivirus'))?.value !== 'off', 'clamd is back', patienceMs)
})

test('a service that is killed at once leaves nothing behind, and is there again', async () => {
  await machine.run(`${trustcast} open '${await launchCode()}'`)
  await untilThere(application, 'the application runs')
  await machine.run('systemctl kill -s KILL trustcast-endpoint')
  await machine.run('timeout 200 sync')
  await untilThere(`! ${application} && ! pgrep nbdfuse && [ -z "$(losetup -l)" ]`, 'nothing is left')
  await untilThere(`${trustcast} status | grep -q '^Connected to the site'`, 'it is connected again')
})

test("from the command line a disk is mounted by the kernel's own NBD client", async () => {
  await machine.run(`
    export TRUSTCAST_IMAGES=${machine.shared.there}/keys TRUSTCAST_STORE=${machine.shared.there}/store
    systemd-run --unit=disk -E TRUSTCAST_IMAGES -E TRUSTCAST_STORE ${trustcast} disk attach lab:1 --mount /mnt/lab --overlay keep`)
  await untilThere('mountpoint -q /mnt/lab', 'the disk is mounted')
  await machine.run(`
    findmnt -n -o SOURCE /mnt/lab | grep -q '^/dev/nbd'
    cmp /mnt/lab/bin/busybox /bin/busybox
    head -c 4M /dev/urandom > /mnt/lab/written
    sync -f /mnt/lab
    ${trustcast} disk detach /mnt/lab
    ! mountpoint -q /mnt/lab`)
})

test('after a loss of power it is the same machine, and that somebody meddled with what it boots is noticed', async () => {
  // The power goes at the moment when the site has taken its last word: the count of these must have outlived it.
  await machine.run('systemctl stop clamd')
  await untilClaim('endpoint.antivirus', 'off')
  await machine.turnOff()
  await machine.meddle()
  await machine.turnOn()
  await machine.run(install)
  await untilClaim('endpoint.bootState', 'changed')
  expect(await claimOf('endpoint.bootState')).toMatchObject({ source: 'attested' })
  expect(await claimOf('endpoint.deviceKey')).toMatchObject({ value: 'tpm', source: 'attested' })
})
