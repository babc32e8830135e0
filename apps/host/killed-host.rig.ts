import { desiredSession, openHost, type Place } from './host.rig.ts'

/** A host agent in a process of its own, to be killed: `node killed-host.rig.ts PLACE-AS-JSON ACCOUNT…` */
const [placeJson = '', ...accounts] = process.argv.slice(2)
const sessions = accounts.map((account) => desiredSession(account))

const host = await openHost(JSON.parse(placeJson) as Place, {
  tell: (message) => {
    if (message.kind !== 'report') return
    const ready = message.sessions.filter(({ state }) => state === 'ready')
    if (ready.length === sessions.length) process.stdout.write(`${JSON.stringify(sessions)}\n`)
  },
})
host.receive({ kind: 'desired', draining: false, warm: 0, gateways: [], sessions, tickets: [] })
