import {
  type InputHTMLAttributes,
  type ReactElement,
  type SelectHTMLAttributes,
  type TextareaHTMLAttributes,
  useId,
} from 'react'

/** A labelled input with room for a hint. */
export function TextField(
  props: { readonly label: string; readonly hint?: string } & InputHTMLAttributes<HTMLInputElement>,
): ReactElement {
  const { label, hint, ...input } = props
  const id = useId()
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <input id={id} {...input} aria-describedby={hint === undefined ? undefined : `${id}-hint`} />
      {hint !== undefined && (
        <p id={`${id}-hint`} className="hint">
          {hint}
        </p>
      )}
    </div>
  )
}

/** A labelled text of several lines. */
export function LinesField(
  props: { readonly label: string; readonly hint: string } & TextareaHTMLAttributes<HTMLTextAreaElement>,
): ReactElement {
  const { label, hint, ...area } = props
  const id = useId()
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <textarea id={id} {...area} aria-describedby={`${id}-hint`} />
      <p id={`${id}-hint`} className="hint">
        {hint}
      </p>
    </div>
  )
}

/** A labelled choice of one among a few. */
export function SelectField(
  props: {
    readonly label: string
    readonly hint?: string
    readonly options: readonly { readonly value: string; readonly label: string }[]
  } & SelectHTMLAttributes<HTMLSelectElement>,
): ReactElement {
  const { label, hint, options, ...select } = props
  const id = useId()
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <select id={id} {...select} aria-describedby={hint === undefined ? undefined : `${id}-hint`}>
        {options.map((option) => (
          <option key={option.value} value={option.value}>
            {option.label}
          </option>
        ))}
      </select>
      {hint !== undefined && (
        <p id={`${id}-hint`} className="hint">
          {hint}
        </p>
      )}
    </div>
  )
}

/** The value of a field of a submitted form, as text. */
export function formValue(form: FormData, name: string): string {
  const value = form.get(name)
  return typeof value === 'string' ? value : ''
}

/** The words of a field, which spaces or commas separate. */
export function words(text: string): string[] {
  return text.split(/[\s,]+/).filter((word) => word !== '')
}
