import type { ReactElement } from 'react'
import type { DeviceLaunch, DeviceStatus } from '#core/api/handoff.ts'
import { useNow } from '../ui/use-resource.ts'
import { ago, modeNames, percent, sentence, size, span } from '../words.ts'

/** What `trustcast status` says, for the device that this page is shown on. */
export function ThisDevice({
  status,
  name,
}: {
  readonly status: DeviceStatus
  /** As the site knows it. */
  readonly name: string | undefined
}): ReactElement {
  const now = useNow()
  const { connected, intercepted, trouble, certificateExpiresAt, evidenceAt, launches, disks } = status
  const running = launches.filter(({ state }) => state !== 'ended')
  const taken = launches.filter(({ end }) => end?.taken === true)
  const leftMinutes = Math.floor((Date.parse(certificateExpiresAt) - now) / 60_000)
  return (
    <details className="device">
      <summary>
        <span className={connected ? 'dot dot-on' : 'dot'} aria-hidden="true" />
        <strong>This device</strong>
        <span className="muted">
          {name ?? 'enrolled'} · {connected ? 'connected' : 'not connected to the site'}
          {intercepted && ': somebody in between answers in its place'}
        </span>
      </summary>
      <dl className="device-facts">
        {intercepted && (
          <Fact term="What to do">
            Use another network, or ask the people who run this one not to open connections to the site.
          </Fact>
        )}
        {trouble !== undefined && !intercepted && (
          <Fact term="What is wrong">
            {trouble.message}. {trouble.remedy}
          </Fact>
        )}
        <Fact term="Endpoint">
          <span className="mono">{status.endpointId}</span>
        </Fact>
        <Fact term="Certificate">
          {leftMinutes > 0 ? `renewed by itself, good for ${span(leftMinutes)}` : 'expired'}
        </Fact>
        <Fact term="Evidence">
          {evidenceAt === undefined ? 'none was accepted yet' : `accepted ${ago(evidenceAt, now)}`}
        </Fact>
        <Fact term="Client">Version {status.version}</Fact>
        <Fact term="Running">
          {running.length + disks.length === 0 && 'nothing'}
          <ul>
            {running.map((launch) => (
              <li key={launch.id}>{runningText(launch)}</li>
            ))}
            {disks.map(({ id, name: disk, mount }) => (
              <li key={id}>
                Disk {disk}
                {mount !== undefined && ` on ${mount}`}
              </li>
            ))}
          </ul>
        </Fact>
        {taken.length > 0 && (
          <Fact term="Taken back">
            <ul>
              {taken.map(({ id, workspace, end }) => (
                <li key={id}>
                  {workspace.name}, {ago(end?.at ?? '', now)}: {sentence(end?.reason ?? '')}{' '}
                  {end?.remedy !== undefined && <span className="muted">{sentence(end.remedy)}</span>}
                </li>
              ))}
            </ul>
          </Fact>
        )}
      </dl>
    </details>
  )
}

function Fact({
  term,
  children,
}: {
  readonly term: string
  readonly children: React.ReactNode
}): ReactElement {
  return (
    <div>
      <dt>{term}</dt>
      <dd>{children}</dd>
    </div>
  )
}

function runningText({ workspace, mode, state, stats, leaseLeftMs }: DeviceLaunch): string {
  if (state === 'opening') return `${workspace.name}: opening`
  const lease =
    leaseLeftMs === undefined ? '' : `, lease for ${span(Math.max(1, Math.floor(leaseLeftMs / 60_000)))} more`
  return `${workspace.name} (${modeNames[mode].toLowerCase()}): ${percent(stats.percentLocal, 100)} of it here, ${size(stats.bytesFetched)} fetched${lease}`
}
