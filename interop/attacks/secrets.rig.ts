/** Looks for secrets in what somebody could have written down, however they may have been encoded on the way. */

/** A secret and every form in which it could be read. */
export interface Secret {
  readonly name: string
  readonly forms: readonly (readonly [form: string, bytes: Buffer])[]
}

export function secret(name: string, value: string | Uint8Array): Secret {
  const bytes = Buffer.from(value as Uint8Array)
  const text = typeof value === 'string' ? [...utf16(value)] : []
  const base64 = [0, 1, 2].flatMap((shift) => {
    // Where it stands in a longer text decides how it is cut into groups of six bits; the groups at its ends mix with others.
    const whole = Buffer.concat([Buffer.alloc(shift), bytes, Buffer.alloc(2)])
    const first = Math.ceil((shift * 8) / 6)
    const last = Math.floor(((shift + bytes.length) * 8) / 6)
    return (['base64', 'base64url'] as const).map(
      (form) => [`${form} +${shift}`, Buffer.from(whole.toString(form).slice(first, last))] as const,
    )
  })
  const hex = bytes.toString('hex')
  const forms = [
    ['as it is', bytes],
    ['hex', Buffer.from(hex)],
    ['HEX', Buffer.from(hex.toUpperCase())],
    ...base64,
    ...text,
  ] as const
  return { name, forms }
}

/** The secret as the keys that a viewer presses: RFC 6143, section 7.5.4. */
export function typed(name: string, text: string): Secret {
  const events = [...Buffer.from(text, 'latin1')].flatMap((key) =>
    [1, 0].map((down) => Buffer.from([4, down, 0, 0, 0, 0, 0, key])),
  )
  return { name, forms: [['RFB key events', Buffer.concat(events)]] }
}

/** @returns which secrets can be read in the bytes, and in which form; none is what one hopes for */
export function readable(bytes: Buffer, secrets: readonly Secret[]): readonly string[] {
  return secrets.flatMap(({ name, forms }) =>
    forms.filter(([, form]) => bytes.includes(form)).map(([form]) => `${name}, ${form}`),
  )
}

function utf16(value: string): (readonly [string, Buffer])[] {
  const little = Buffer.from(value, 'utf16le')
  return [
    ['UTF-16LE', little],
    ['UTF-16BE', Buffer.from(little).swap16()],
  ]
}
