import { type InputHTMLAttributes, type ReactElement, useId } from 'react'

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

/** The value of a field of a submitted form, as text. */
export function formValue(form: FormData, name: string): string {
  const value = form.get(name)
  return typeof value === 'string' ? value : ''
}

/** The words of a field, which spaces or commas separate. */
export function words(text: string): string[] {
  return text.split(/[\s,]+/).filter((word) => word !== '')
}
