import type { ReactElement } from 'react'
import type { WorkspaceDefinition } from '#core/api/admin.ts'
import { imagesApi } from '../api/images-api.ts'
import { formValue, TextField } from '../ui/fields.tsx'
import { useResource } from '../ui/use-resource.ts'
import { channelNames } from '../words.ts'

type Disk = NonNullable<WorkspaceDefinition['disk']>

const label = {
  pattern: '[a-z0-9][a-z0-9._\\-]{0,127}',
  title: 'Lower-case letters, digits, dots, underscores and dashes',
  autoComplete: 'off',
  spellCheck: false,
} as const

/** The image that a workspace streams or runs as a VM, part of the workspace's form. */
export function DiskFields(props: {
  readonly disk: Disk | undefined
  /** A streamed disk has one program started from it; a VM starts by itself. */
  readonly startsApplication: boolean
}): ReactElement {
  const { disk, startsApplication } = props
  const { data } = useResource(imagesApi.releases)
  return (
    <fieldset className="subfields">
      <legend>Image</legend>
      <TextField
        label="Image"
        name="disk-image"
        defaultValue={disk?.image}
        required
        list="disk-images"
        hint="One that was registered; the page Images lists them."
        {...label}
      />
      <datalist id="disk-images">
        {data?.images.map(({ name }) => (
          <option key={name} value={name} />
        ))}
      </datalist>
      <fieldset className="choices">
        <legend>Channel</legend>
        {(['production', 'test'] as const).map((channel) => (
          <label key={channel}>
            <input
              type="radio"
              name="disk-channel"
              value={channel}
              defaultChecked={channel === (disk?.channel ?? 'production')}
            />
            {channelNames[channel]}
          </label>
        ))}
      </fieldset>
      {startsApplication && (
        <TextField
          label="Application"
          name="disk-application"
          defaultValue={disk?.application}
          required
          hint="What is started from the streamed disk, by the name that the signed image gives it."
          {...label}
        />
      )}
    </fieldset>
  )
}

export function diskFrom(form: FormData): Disk {
  const application = formValue(form, 'disk-application').trim()
  return {
    image: formValue(form, 'disk-image').trim(),
    channel: formValue(form, 'disk-channel') === 'test' ? 'test' : 'production',
    ...(application !== '' && { application }),
  }
}
