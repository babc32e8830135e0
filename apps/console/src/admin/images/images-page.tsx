import type { ReactElement } from 'react'
import type { z } from 'zod'
import type { imageUseAnswer } from '#core/api/lease.ts'
import type { ImageView, ReleasesView } from '#core/api/releases.ts'
import { imagesApi } from '../../api/images-api.ts'
import { usePerson } from '../../person-context.ts'
import { CommandLine } from '../../ui/copyable.tsx'
import { Icon } from '../../ui/icons.tsx'
import { Empty, Problem, Waiting } from '../../ui/message.tsx'
import { useInterval, useNow, useResource } from '../../ui/use-resource.ts'
import { roleTitle, span } from '../../words.ts'
import { PageHead } from '../page-head.tsx'
import { ChannelCard } from './channel-card.tsx'
import { delegateCommand, importCommands, rootCommand } from './commands.ts'
import { expiryOf, type Family, familiesOf } from './families.ts'
import { LiveStreams } from './live-streams.tsx'
import { Proposals } from './proposals.tsx'
import { ReleaseItem, UnreleasedItem } from './release-item.tsx'
import { type NamedRole, Signers } from './signers.tsx'

/** Images of streamed disks: what is released, what awaits signatures, where it is in use. */
export function ImagesPage(): ReactElement {
  const known = useResource(loadImages)
  const use = useResource(imagesApi.use)
  useInterval(use.reload, 5000)
  useInterval(known.reload, 15_000)
  const families = known.data === undefined ? undefined : familiesOf(known.data.releases, known.data.images)
  const reload = () => {
    known.reload()
    use.reload()
  }
  return (
    <>
      <PageHead title="Images" count={families?.length}>
        Disks that are streamed to endpoints. People sign each release with keys of their own; this site can
        pass releases on, not make them.
      </PageHead>
      {known.data === undefined || families === undefined ? (
        known.error === undefined ? (
          <Waiting label="Loading images" />
        ) : (
          <Problem error={known.error} retry={known.reload} />
        )
      ) : (
        <Loaded all={known.data.releases} families={families} use={use.data} onChange={reload} />
      )}
      {use.data === undefined && use.error !== undefined && <Problem error={use.error} retry={use.reload} />}
    </>
  )
}

function Loaded(props: {
  readonly all: ReleasesView
  readonly families: readonly Family[]
  readonly use: z.infer<typeof imageUseAnswer> | undefined
  readonly onChange: () => void
}): ReactElement {
  const { all, families, use, onChange } = props
  const roles = rolesOf(all)
  const pending = new Set(all.proposals.map(({ role }) => role))
  if (all.root === undefined && all.proposals.length === 0) return <NobodySigns />
  return (
    <>
      <Expiring roles={roles} />
      {all.proposals.length > 0 && <Proposals proposals={all.proposals} onChange={onChange} />}
      {families.length === 0 && (
        <Empty
          title="No image has been registered yet"
          action={<CommandLine text={importCommands()} label="Copy the commands that import an image" />}
        >
          Import a disk where it lies, and tell the site of it.
        </Empty>
      )}
      {families.map((family) => (
        <FamilySection
          key={family.name}
          family={family}
          proposed={
            all.proposals.find(({ role }) => role === family.name)?.adds.map((add) => add.version) ?? []
          }
          uses={use?.uses.filter(({ image }) => image === family.name) ?? []}
          groups={use?.groups ?? []}
          onChange={onChange}
        />
      ))}
      <LiveStreams onChange={onChange} />
      {roles.length > 0 && <Signers roles={roles} pending={pending} onChange={onChange} />}
    </>
  )
}

function FamilySection(props: {
  readonly family: Family
  /** Versions that await signatures. */
  readonly proposed: readonly string[]
  readonly uses: readonly { readonly version: string; readonly leases: number }[]
  readonly groups: readonly string[]
  readonly onChange: () => void
}): ReactElement {
  const { family, proposed, uses, groups, onChange } = props
  const { me } = usePerson()
  const { name, role, releases, unreleased } = family
  return (
    <section className="family" aria-labelledby={`family-${name}`}>
      <header className="section-head">
        <h2 id={`family-${name}`}>{name}</h2>
        <p className="muted small">
          {role === undefined
            ? 'Nobody is named to sign it'
            : `${role.threshold} of ${role.keys.length} sign: ${role.keys.map((key) => key.name).join(', ')}`}
        </p>
      </header>
      {role === undefined && (
        <div className="stack-small">
          <p className="small">Name who signs it, by the public files of their keys:</p>
          <CommandLine text={delegateCommand(name)} label={`Copy the command that names who signs ${name}`} />
        </div>
      )}
      {releases.length > 0 && (
        <div className="channels">
          {(['production', 'test'] as const).map((kind) => (
            <ChannelCard key={kind} family={family} kind={kind} groups={groups} onChange={onChange} />
          ))}
        </div>
      )}
      <ul className="decisions" aria-label={`Releases of ${name}`}>
        {unreleased.map((image) => (
          <UnreleasedItem
            key={image.version}
            image={image}
            proposed={proposed.includes(image.version)}
            mayPropose={me.admin && role !== undefined && proposed.length === 0}
            onChange={onChange}
          />
        ))}
        {releases.map((release) => (
          <ReleaseItem
            key={release.version}
            family={family}
            release={release}
            leases={uses.find(({ version }) => version === release.version)?.leases ?? 0}
            onChange={onChange}
          />
        ))}
        {unreleased.length + releases.length === 0 && (
          <li className="muted family-empty">Nothing is released yet.</li>
        )}
      </ul>
    </section>
  )
}

/** What people must sign anew soon: afterwards no endpoint believes it. */
function Expiring({ roles }: { readonly roles: readonly NamedRole[] }): ReactElement | null {
  const now = useNow()
  const near = roles.flatMap(({ name, role }) => {
    const expiry = expiryOf(role, now)
    return expiry === undefined || expiry.state === 'good' ? [] : [{ name, ...expiry }]
  })
  if (near.length === 0) return null
  return (
    <div className="notice notice-warn" role="status">
      <Icon name="warning" />
      <div className="grow">
        {near.map(({ name, minutes, state }) => (
          <p key={name}>
            <strong>{roleTitle(name)}</strong>{' '}
            {state === 'over' ? 'has expired' : `expires in ${span(minutes)}`}.{' '}
            <span className="muted">
              {name === 'root'
                ? `Endpoints believe nothing after that. Have it signed anew: ${rootCommand()}`
                : 'Endpoints refuse its releases after that. Renew it below and have it signed.'}
            </span>
          </p>
        ))}
      </div>
    </div>
  )
}

function NobodySigns(): ReactElement {
  return (
    <Empty
      title="Nobody has said yet who signs"
      action={<CommandLine text={rootCommand()} label="Copy the command that names who signs" />}
    >
      Images are used only when people have signed them. Let each make a key with{' '}
      <code className="mono">./trustcast key create FILE</code>, then name their public files.
    </Empty>
  )
}

function rolesOf({ root, targets, images }: ReleasesView): readonly NamedRole[] {
  return [
    ...(root === undefined ? [] : [{ name: 'root', role: root }]),
    ...(targets === undefined ? [] : [{ name: 'targets', role: targets }]),
    ...images.map((image) => ({ name: image.name, role: image })),
  ]
}

async function loadImages(): Promise<{ releases: ReleasesView; images: readonly ImageView[] }> {
  const [releases, { images }] = await Promise.all([imagesApi.releases(), imagesApi.images()])
  return { releases, images }
}
