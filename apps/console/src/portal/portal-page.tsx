import { type ReactElement, useEffect, useRef, useState } from 'react'
import type { SessionView, WorkspaceView } from '#core/api/person.ts'
import { freshSignIn } from '../account/web-session.ts'
import { api } from '../api/api.ts'
import { ApiError } from '../api/errors.ts'
import { usePerson } from '../person-context.ts'
import { openWorkspace } from '../session/open-workspace.ts'
import { preloadViewer } from '../session/viewer.ts'
import { wasTaken } from '../session/was-taken.ts'
import { Empty, Problem, Waiting } from '../ui/message.tsx'
import { Link, navigate } from '../ui/router.tsx'
import { useAction } from '../ui/use-action.ts'
import { useResource, useSiteEvents } from '../ui/use-resource.ts'
import { RunningSessions } from './running-sessions.tsx'
import { TakenSessions } from './taken-sessions.tsx'
import { ThisDevice } from './this-device.tsx'
import { type Device, useDevice } from './use-device.ts'
import { WorkspaceTile } from './workspace-tile.tsx'

/** Where people open their workspaces. */
export function PortalPage(): ReactElement {
  const { me, reload: reloadPerson } = usePerson()
  const { data, error, reload } = useResource(loadPortal)
  /** Taken back and over since this page was opened: the site lists only what runs. */
  const [over, setOver] = useState<readonly SessionView[]>([])
  const dismiss = (id: string) => setOver((before) => before.filter((session) => session.id !== id))
  useSiteEvents((event) => {
    if (event.kind === 'data') return
    if (event.kind === 'session' && event.session.state === 'ended' && wasTaken(event.session)) {
      const { session } = event
      setOver((before) => [...before.filter(({ id }) => id !== session.id), session])
    }
    reload()
    reloadPerson()
  })
  useEffect(preloadViewer, [])
  const workspaces = data?.workspaces
  const device = useDevice(workspaces?.some(canRunHere) === true)

  if (workspaces === undefined) {
    return error === undefined ? (
      <Waiting label="Loading your workspaces" />
    ) : (
      <Problem error={error} retry={reload} />
    )
  }
  const listed = data?.sessions ?? []
  const running = listed.filter((session) => !wasTaken(session))
  const taken = [
    ...listed.filter(wasTaken),
    ...over.filter(({ id }) => !listed.some((one) => one.id === id)),
    // Whoever has gone on knows.
  ].filter(({ workspace }) => !running.some((session) => session.workspace.id === workspace.id))
  return (
    <>
      <header className="page-head">
        <h1>{greeting(me.name)}</h1>
        <p className="muted">
          {workspaces.length === 0
            ? 'Nothing to open yet.'
            : 'How a workspace reaches you depends on you, this computer and its network.'}
        </p>
      </header>
      {taken.length > 0 && <TakenSessions sessions={taken} workspaces={workspaces} onDismiss={dismiss} />}
      {running.length > 0 && (
        <RunningSessions
          sessions={running}
          workspaces={workspaces}
          device={device}
          onReconnect={reconnect}
          onChange={reload}
        />
      )}
      {workspaces.length === 0 ? (
        <NoWorkspaces />
      ) : (
        <div className="tiles">
          {workspaces.map((workspace) => (
            <LaunchTile
              key={workspace.id}
              workspace={workspace}
              runsOn={running.find((session) => session.workspace.id === workspace.id)?.endpoint}
              device={device}
              only={workspaces.length === 1}
              onRefused={reload}
            />
          ))}
        </div>
      )}
      {device.status !== undefined && (
        <ThisDevice
          status={device.status}
          name={workspaces.find(({ here }) => here !== undefined)?.here?.endpoint.name}
        />
      )}
    </>
  )
}

/** Whether a workspace could run on a device at all, so that it is worth asking for one. */
function canRunHere({ decision, here }: WorkspaceView): boolean {
  return (
    here !== undefined ||
    decision.refused.some(({ place, deliverable }) => place === 'endpoint' && deliverable)
  )
}

/** A tile that launches. The only workspace of a person who just signed in opens by itself. */
function LaunchTile(props: {
  readonly workspace: WorkspaceView
  /** An endpoint of this person. */
  readonly runsOn: SessionView['endpoint']
  readonly device: Device
  readonly only: boolean
  readonly onRefused: () => void
}): ReactElement {
  const { workspace, device, only, onRefused } = props
  const action = useAction()

  function run(work: () => Promise<void>): void {
    performance.mark('launch-click')
    action.run(async () => {
      try {
        await work()
      } catch (error) {
        if (error instanceof ApiError && (error.decision !== undefined || error.code === 'LAUNCH_REFUSED'))
          onRefused()
        throw error
      }
    })
  }
  const open = () => run(async () => goToSession(workspace.sessionId ?? (await openWorkspace(workspace.id))))

  const started = useRef(false)
  useEffect(() => {
    if (!only || started.current || history.state !== freshSignIn || workspace.decision.outcome === undefined)
      return
    started.current = true
    history.replaceState(null, '')
    open()
  })
  return (
    <WorkspaceTile
      workspace={workspace}
      runsOn={props.runsOn}
      device={device}
      action={action}
      onOpen={open}
      onOpenHere={(wish) => run(() => device.open(workspace.id, wish))}
      onOpenByScheme={() => run(() => device.openByScheme(workspace.id))}
    />
  )
}

function NoWorkspaces(): ReactElement {
  const { me, siteName } = usePerson()
  if (me.admin) {
    return (
      <Empty
        title="Let someone in"
        action={
          <Link href="/admin/workspaces" className="button button-primary">
            See the workspaces
          </Link>
        }
      >
        Define what can be opened, have it run on a host, and give people groups: the policy says who may open
        what.
      </Empty>
    )
  }
  if (me.auditor) {
    return (
      <Empty
        title="You are here to look"
        action={
          <Link href="/admin/decisions" className="button button-primary">
            See the decisions
          </Link>
        }
      >
        No workspace is meant for you. As an auditor you see what others were given, and why.
      </Empty>
    )
  }
  return (
    <Empty title="No workspace is meant for you yet">
      Ask the people who run {siteName} to put your account in a group. This page shows it at once when they
      do.
    </Empty>
  )
}

async function loadPortal(): Promise<{
  workspaces: readonly WorkspaceView[]
  sessions: Awaited<ReturnType<typeof api.sessions>>['sessions']
}> {
  const [{ workspaces }, { sessions }] = await Promise.all([api.workspaces(), api.sessions()])
  return { workspaces, sessions: sessions.filter(({ state }) => state !== 'ended') }
}

function reconnect(id: string): void {
  performance.mark('launch-click')
  goToSession(id)
}

function goToSession(id: string): void {
  navigate(`/session/${id}`)
}

function greeting(name: string): string {
  const hour = new Date().getHours()
  const time =
    hour < 5 ? 'Good night' : hour < 12 ? 'Good morning' : hour < 18 ? 'Good afternoon' : 'Good evening'
  return `${time}, ${name.split(' ')[0] ?? name}`
}
