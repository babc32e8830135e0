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

/** What a workspace streams, part of the workspace's form. */
export function DiskFields({ disk }: { readonly disk: Disk | undefined }): ReactElement {
  const { data } = useResource(imagesApi.releases)
  return (
    <fieldset className="subfields">
      <legend>Streamed disk</legend>
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
      <TextField
        label="Application"
        name="disk-application"
        defaultValue={disk?.application}
        required
        hint="What is started from the disk, by the name that the signed image gives it."
        {...label}
      />
    </fieldset>
  )
}

export function diskFrom(form: FormData): Disk {
  return {
    image: formValue(form, 'disk-image').trim(),
    channel: formValue(form, 'disk-channel') === 'test' ? 'test' : 'production',
    application: formValue(form, 'disk-application').trim(),
  }
}
