import { type FormEvent, type ReactElement, useState } from 'react'
import type { ZoneDefinition } from '#core/api/admin.ts'
import { adminApi } from '../api/api.ts'
import { usePerson } from '../person-context.ts'
import { DataTable } from '../ui/data-table.tsx'
import { Confirm, Dialog } from '../ui/dialog.tsx'
import { formValue, TextField, words } from '../ui/fields.tsx'
import { Icon } from '../ui/icons.tsx'
import { Problem, Waiting } from '../ui/message.tsx'
import { type Facts, isConflict, Overtaken, overtakingOf, SaveFoot } from '../ui/overtaken.tsx'
import { useAction } from '../ui/use-action.ts'
import { useResource } from '../ui/use-resource.ts'

const kinds = ['inside', 'outside', 'hostile'] as const

/** Networks by the address that the site itself sees. */
export function ZoneEditor(): ReactElement {
  const { me } = usePerson()
  const { data, error, reload } = useResource(adminApi.zones)
  const [editing, setEditing] = useState<ZoneDefinition | 'new'>()
  const zones = data?.zones
  return (
    <section aria-labelledby="zones-title">
      <header className="section-head">
        <h2 id="zones-title">Networks</h2>
        {me.admin && (
          <button
            type="button"
            className="button"
            disabled={zones === undefined}
            onClick={() => setEditing('new')}
          >
            <Icon name="plus" />
            Add a zone
          </button>
        )}
      </header>
      {zones === undefined ? (
        error === undefined ? (
          <Waiting label="Loading zones" />
        ) : (
          <Problem error={error} retry={reload} />
        )
      ) : zones.length === 0 ? (
        <p className="muted">
          No zone is defined, so that every address counts as outside.
          {me.admin && ' Add the networks of your buildings as inside.'}
        </p>
      ) : (
        <DataTable
          label="Zones"
          rows={zones.map((zone) => ({
            key: zone.name,
            cells: {
              Zone: zone.name,
              Kind: zone.kind,
              Networks: <span className="mono">{zone.networks.join(', ')}</span>,
              'Counts when': countsWhen(zone),
            },
            actions: me.admin && (
              <button
                type="button"
                className="button button-small"
                aria-label={`Edit zone ${zone.name}`}
                onClick={() => setEditing(zone)}
              >
                Edit
              </button>
            ),
          }))}
        />
      )}
      {editing !== undefined && data !== undefined && zones !== undefined && (
        <ZoneDialog
          key={JSON.stringify(editing)}
          zone={editing === 'new' ? undefined : editing}
          zones={zones}
          tag={data.tag}
          reload={reload}
          onTakeTheirs={setEditing}
          onClose={() => setEditing(undefined)}
        />
      )}
    </section>
  )
}

function ZoneDialog(props: {
  /** As it was when this was opened; undefined for a new one. */
  readonly zone: ZoneDefinition | undefined
  /** As they are now, under this tag. */
  readonly zones: readonly ZoneDefinition[]
  readonly tag: string
  readonly reload: () => void
  readonly onTakeTheirs: (now: ZoneDefinition | undefined) => void
  readonly onClose: () => void
}): ReactElement {
  const { zone, zones } = props
  const now = zones.find(({ name }) => name === zone?.name)
  const overtaking = overtakingOf(zone && factsOf(zone), now && factsOf(now))
  const { busy, error, run } = useAction()
  const [removing, setRemoving] = useState(false)

  const replace = (next: readonly ZoneDefinition[], form?: HTMLFormElement) =>
    run(async () => {
      // Also when it was refused: what was wrong may be that this is out of date.
      await adminApi.replaceZones(next, props.tag).finally(props.reload)
      props.onClose()
    }, form)

  function submit(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault()
    const form = new FormData(event.currentTarget)
    const url = formValue(form, 'beacon-url').trim()
    const changed: ZoneDefinition = {
      name: zone?.name ?? formValue(form, 'name'),
      kind: kinds.find((kind) => kind === formValue(form, 'kind')) ?? 'outside',
      networks: words(formValue(form, 'networks')),
      ...(form.has('vpn') ? { vpn: true } : {}),
      ...(url === ''
        ? {}
        : {
            beacon: {
              url,
              key: formValue(form, 'beacon-key').trim(),
              maxRttMs: Number(formValue(form, 'beacon-maxRttMs')),
            },
          }),
    }
    replace(
      now === undefined ? [...zones, changed] : zones.map((each) => (each === now ? changed : each)),
      event.currentTarget,
    )
  }

  return (
    <Dialog title={zone === undefined ? 'Add a zone' : `Zone ${zone.name}`} onClose={props.onClose}>
      <form onSubmit={submit}>
        <div className="dialog-body">
          {zone === undefined && (
            <TextField
              label="Name"
              name="name"
              required
              pattern="[a-z][a-z0-9\-]{0,39}"
              title="Lower-case letters, digits and dashes, 40 at most"
              autoComplete="off"
            />
          )}
          <fieldset className="choices">
            <legend>Kind</legend>
            {kinds.map((kind) => (
              <label key={kind}>
                <input
                  type="radio"
                  name="kind"
                  value={kind}
                  defaultChecked={kind === (zone?.kind ?? 'inside')}
                />
                {kind}
              </label>
            ))}
          </fieldset>
          <TextField
            label="Networks"
            name="networks"
            defaultValue={zone?.networks.join(' ')}
            required
            hint="Addresses or CIDR blocks, separated by spaces: 10.20.0.0/16 2001:db8::/32"
            autoComplete="off"
            spellCheck={false}
          />
          <label className="check">
            <input type="checkbox" name="vpn" defaultChecked={zone?.vpn ?? false} /> Our VPN ends here: who
            arrives from these networks came through it
          </label>
          <BeaconFields beacon={zone?.beacon} />
          {overtaking !== undefined && <Overtaken {...overtaking} />}
          {error !== undefined && !(overtaking !== undefined && isConflict(error)) && (
            <Problem error={error} />
          )}
        </div>
        <SaveFoot
          overtaking={overtaking}
          save="Save"
          disabled={busy}
          onTakeTheirs={() => props.onTakeTheirs(now)}
          apart={
            now && (
              <button
                type="button"
                className="button button-quiet"
                disabled={busy}
                onClick={() => setRemoving(true)}
              >
                Remove
              </button>
            )
          }
        />
      </form>
      {removing && now !== undefined && (
        <Confirm
          title={`Remove the zone ${now.name}?`}
          action="Remove the zone"
          onConfirm={() => {
            setRemoving(false)
            replace(zones.filter((each) => each !== now))
          }}
          onClose={() => setRemoving(false)}
        >
          <p>
            Who is seen at {now.networks.join(', ')} counts as outside then, unless another zone has the
            address. Running sessions are decided again at once, and may step down or end.
          </p>
        </Confirm>
      )}
    </Dialog>
  )
}

function BeaconFields({ beacon }: { readonly beacon: ZoneDefinition['beacon'] }): ReactElement {
  const [url, setUrl] = useState(beacon?.url ?? '')
  const isAsked = url.trim() !== ''
  return (
    <>
      <TextField
        label="Beacon"
        name="beacon-url"
        value={url}
        onChange={(event) => setUrl(event.target.value)}
        placeholder="tls://beacon.example.com:7443"
        hint="Leave empty for none. With one, the zone counts only for devices that the beacon has found near; all others are outside."
        autoComplete="off"
        spellCheck={false}
      />
      {isAsked && (
        <>
          <TextField
            label="Key of the beacon"
            name="beacon-key"
            defaultValue={beacon?.key}
            required
            pattern="[A-Za-z0-9_\-]{43}"
            title="43 letters, digits, dashes and underscores"
            hint="As it prints when it starts."
            autoComplete="off"
            spellCheck={false}
          />
          <TextField
            label="Longest round trip, ms"
            name="beacon-maxRttMs"
            type="number"
            min="0.1"
            max="1000"
            step="0.1"
            defaultValue={String(beacon?.maxRttMs ?? 5)}
            required
            hint="Cable: about 3. Wireless: about 10. Each millisecond is up to 100 km."
          />
        </>
      )}
    </>
  )
}

function factsOf(zone: ZoneDefinition): Facts {
  const { kind, networks, beacon } = zone
  return {
    Kind: kind,
    Networks: networks.join(' '),
    'Counts when': countsWhen(zone),
    Beacon: beacon === undefined ? 'none' : `${beacon.url} ${beacon.key}`,
  }
}

function countsWhen({ kind, vpn, beacon }: ZoneDefinition): string {
  const address = vpn === true ? 'the VPN gave the address' : 'the address fits'
  return beacon === undefined
    ? address
    : `${address} and the beacon answers within ${beacon.maxRttMs} ms; otherwise it is outside instead of ${kind}`
}
