import { type ReactElement, type ReactNode, useId, useState } from 'react'
import type { ImageView } from '#core/api/releases.ts'
import { imagesApi } from '../../api/images-api.ts'
import { usePerson } from '../../person-context.ts'
import { CommandLine, Digest } from '../../ui/copyable.tsx'
import { Icon } from '../../ui/icons.tsx'
import { Problem } from '../../ui/message.tsx'
import { useAction } from '../../ui/use-action.ts'
import { useNow, useResource } from '../../ui/use-resource.ts'
import { ago, leaseStateNames } from '../../words.ts'
import { signCommand } from './commands.ts'
import { DiskPicture } from './disk-picture.tsx'
import type { Family, Release } from './families.ts'
import { RollbackDialog } from './rollback-dialog.tsx'

/** One release: where it is, what it changed, who uses it, and the way back to it. */
export function ReleaseItem(props: {
  readonly family: Family
  readonly release: Release
  /** How many endpoints hold one of it. */
  readonly leases: number
  readonly onChange: () => void
}): ReactElement {
  const { family, release, leases } = props
  const { me } = usePerson()
  const [rolling, setRolling] = useState(false)
  const image = family.images.get(release.contentVersion)
  const isNewest = family.releases[0] === release
  const again = release.contentVersion !== release.version
  return (
    <Fold
      title={release.version}
      badges={<ReleaseBadges family={family} version={release.version} />}
      middle={
        <>
          Release {release.counter}
          {again && `, again ${release.contentVersion}`}
        </>
      }
      use={leases === 0 ? '' : `In use on ${leases.toLocaleString()}`}
      at={release.publishedAt}
    >
      <ImageFacts image={image} release={release} />
      {image?.comparison !== undefined && <DiskPicture image={image} comparison={image.comparison} />}
      {leases > 0 && <InUse image={family.name} version={release.version} />}
      {me.admin && !isNewest && (
        <p>
          <button type="button" className="button button-small" onClick={() => setRolling(true)}>
            Roll back to {release.version}
          </button>
        </p>
      )}
      {rolling && (
        <RollbackDialog
          family={family}
          to={release}
          onClose={() => setRolling(false)}
          onDone={props.onChange}
        />
      )}
    </Fold>
  )
}

/** An image that was registered and is no release yet. */
export function UnreleasedItem(props: {
  readonly image: ImageView
  readonly proposed: boolean
  readonly mayPropose: boolean
  readonly onChange: () => void
}): ReactElement {
  const { image, proposed } = props
  const { busy, error, run } = useAction()
  const name = `${image.name}:${image.version}`
  const propose = () =>
    run(async () => {
      await imagesApi.propose(image.name, image.version)
      props.onChange()
    })
  return (
    <Fold
      title={image.version}
      badges={<span className="state">{proposed ? 'Awaiting signatures' : 'Not released'}</span>}
      middle={`Registered by ${image.importedBy}`}
      use=""
      at={image.importedAt}
    >
      <ImageFacts image={image} />
      {image.comparison !== undefined && <DiskPicture image={image} comparison={image.comparison} />}
      {!proposed && (
        <div className="stack-small">
          <p className="small">Nobody is given it before it is signed. The first signature proposes it.</p>
          <CommandLine text={signCommand(name)} label={`Copy the command that signs ${name}`} />
        </div>
      )}
      {error !== undefined && <Problem error={error} />}
      {props.mayPropose && !proposed && (
        <p>
          <button type="button" className="button button-small" disabled={busy} onClick={propose}>
            Propose {image.version} for signing
          </button>
        </p>
      )}
    </Fold>
  )
}

function Fold(props: {
  readonly title: string
  readonly badges: ReactNode
  readonly middle: ReactNode
  readonly use: string
  readonly at: string
  readonly children: ReactNode
}): ReactElement {
  const [open, setOpen] = useState(false)
  const id = useId()
  const now = useNow()
  return (
    <li className="decision">
      <button
        type="button"
        className="decision-head release-head"
        aria-expanded={open}
        aria-controls={id}
        onClick={() => setOpen(!open)}
      >
        <span className="release-name">
          <strong>{props.title}</strong>
          {props.badges}
        </span>
        <span className="release-what muted">{props.middle}</span>
        <span className="release-use">{props.use}</span>
        <time className="muted" dateTime={props.at} title={props.at}>
          {ago(props.at, now)}
        </time>
        <Icon name="chevron" />
      </button>
      <div id={id} className="decision-body" hidden={!open}>
        {open && props.children}
      </div>
    </li>
  )
}

function ReleaseBadges({
  family,
  version,
}: {
  readonly family: Family
  readonly version: string
}): ReactElement {
  return (
    <>
      {family.channels.map(({ channel, current, next }) => {
        if (current === version)
          return (
            <span key={channel} className="state state-ok">
              {channel}
            </span>
          )
        return next?.version === version ? (
          <span key={channel} className="state state-warn">
            {channel} {next.wave.percent} %
          </span>
        ) : null
      })}
    </>
  )
}

function ImageFacts(props: {
  readonly image: ImageView | undefined
  readonly release?: Release
}): ReactElement {
  const { image, release } = props
  const digest = release?.manifestDigest ?? image?.manifestDigest ?? ''
  return (
    <dl className="facts">
      <div>
        <dt>Manifest, as it is signed</dt>
        <dd>
          <Digest value={digest} of={`the manifest of ${release?.version ?? image?.version ?? ''}`} />
        </dd>
      </div>
      {release !== undefined && (
        <>
          <div>
            <dt>Content</dt>
            <dd>
              {release.contentVersion}
              {release.contentVersion === release.version ? ', its own' : ', after a way back'}
            </dd>
          </div>
          <div>
            <dt>Published</dt>
            <dd>{localTime(release.publishedAt)}</dd>
          </div>
        </>
      )}
      {image !== undefined && (
        <>
          <div>
            <dt>Registered</dt>
            <dd>
              {localTime(image.importedAt)} by {image.importedBy}
            </dd>
          </div>
          <div>
            <dt>Store</dt>
            <dd className="mono">{image.store}</dd>
          </div>
        </>
      )}
    </dl>
  )
}

function InUse(props: { readonly image: string; readonly version: string }): ReactElement | null {
  const { data, error, reload } = useResource(() =>
    imagesApi.leases(String(new URLSearchParams({ image: props.image, version: props.version }))),
  )
  if (data === undefined) return error === undefined ? null : <Problem error={error} retry={reload} />
  const more = data.count - data.leases.length
  return (
    <div className="stack-small">
      <h3>In use</h3>
      <ul className="chips">
        {data.leases.map(({ id, endpoint, person, state }) => (
          <li key={id} className="chip">
            {endpoint.name}, {person.name}
            {state === 'held' ? '' : `, ${leaseStateNames[state].toLowerCase()}`}
          </li>
        ))}
        {more > 0 && <li className="muted">and {more.toLocaleString()} more</li>}
      </ul>
    </div>
  )
}

function localTime(instant: string): string {
  return new Date(instant).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' })
}
