import {
  type FormEvent,
  type InputHTMLAttributes,
  type ReactElement,
  type ReactNode,
  type SelectHTMLAttributes,
  type TextareaHTMLAttributes,
  useId,
  useState,
} from 'react'
import { flushSync } from 'react-dom'
import { ApiError } from '../api/errors.ts'
import { Icon } from './icons.tsx'
import { describe } from './message.tsx'

type Control = HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement

/** What a field says beside its label: a hint, and what is wrong with it. */
function useNotes(label: string, hint: string | undefined) {
  const id = useId()
  const { problem, checks } = useProblem<Control>(label)
  const notes = [problem !== undefined && `${id}-problem`, hint !== undefined && `${id}-hint`].filter(Boolean)
  return {
    control: {
      id,
      ...checks,
      'aria-invalid': problem !== undefined || undefined,
      'aria-describedby': notes.length === 0 ? undefined : notes.join(' '),
    },
    notes: (
      <>
        {problem !== undefined && <FieldProblem id={`${id}-problem`}>{problem}</FieldProblem>}
        {hint !== undefined && (
          <p id={`${id}-hint`} className="hint">
            {hint}
          </p>
        )}
      </>
    ),
  }
}

/**
 * What the browser finds wrong with a control when its form is submitted, in our words and beside it instead of in a bubble that goes away;
 * the first one in the form takes the focus. It is gone as soon as it is put right.
 */
export function useProblem<Element extends Control>(
  label: string,
): {
  readonly problem: string | undefined
  readonly checks: {
    readonly onInvalid: (event: InvalidEvent<Element>) => void
    readonly onInput: (event: InputEvent<Element>) => void
  }
} {
  const [problem, setProblem] = useState<string>()
  return {
    problem,
    checks: {
      onInvalid(event) {
        event.preventDefault()
        const control = event.currentTarget
        // It is there before the focus is: what describes a control is read out when it takes the focus.
        flushSync(() => setProblem(problemOf(label, control)))
        // What the site found may be right by now: it finds it again.
        control.form?.addEventListener('submit', () => setProblem(undefined), { once: true })
        const all = [...(control.form?.elements ?? [])]
        const first = all.find((one) => !(one instanceof HTMLFieldSetElement) && one.matches(':invalid'))
        if (first === control) control.focus()
      },
      onInput({ currentTarget }) {
        if (problem !== undefined && currentTarget.validity.valid) setProblem(undefined)
      },
    },
  }
}

type InvalidEvent<Element> = Pick<FormEvent<Element>, 'preventDefault' | 'currentTarget'>
type InputEvent<Element> = Pick<FormEvent<Element>, 'currentTarget'>

function problemOf(label: string, control: Control): string {
  const { validity, title, validationMessage } = control
  if (validity.valueMissing) return `${label}: this is missing.`
  if (validity.patternMismatch && title !== '') return `${title}.`
  if (validity.tooShort && control instanceof HTMLInputElement)
    return `At least ${control.minLength} characters; these are ${control.value.length}.`
  return validationMessage
}

/**
 * Says what the site finds wrong at the control that it names: `disk/image` at `disk-image`, `zones/3/networks/0` at `networks`.
 *
 * @returns false when the form has none
 */
export function tellField(form: HTMLFormElement, error: unknown): boolean {
  if (!(error instanceof ApiError) || error.field === undefined) return false
  const names = error.field.split('/').filter((name) => !/^\d+$/.test(name))
  const control = names
    .map((_, at) => form.elements.namedItem(names.slice(at).join('-')))
    .find((one) => one instanceof HTMLInputElement || one instanceof HTMLTextAreaElement)
  if (control === undefined) return false
  const { message, remedy = '' } = describe(error)
  control.setCustomValidity(`${message} ${remedy}`)
  control.checkValidity()
  control.setCustomValidity('')
  return true
}

/** What is wrong, beside what it is about. */
export function FieldProblem(props: { readonly id: string; readonly children: ReactNode }): ReactElement {
  return (
    <p id={props.id} className="field-problem">
      <Icon name="warning" />
      {props.children}
    </p>
  )
}

/** A labelled input with room for a hint. */
export function TextField(
  props: { readonly label: string; readonly hint?: string } & InputHTMLAttributes<HTMLInputElement>,
): ReactElement {
  const { label, hint, ...input } = props
  const { control, notes } = useNotes(label, hint)
  return (
    <div className="field">
      <label htmlFor={control.id}>{label}</label>
      <input {...input} {...control} />
      {notes}
    </div>
  )
}

/** A labelled text of several lines. */
export function LinesField(
  props: { readonly label: string; readonly hint: string } & TextareaHTMLAttributes<HTMLTextAreaElement>,
): ReactElement {
  const { label, hint, ...area } = props
  const { control, notes } = useNotes(label, hint)
  return (
    <div className="field">
      <label htmlFor={control.id}>{label}</label>
      <textarea {...area} {...control} />
      {notes}
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
  const { control, notes } = useNotes(label, hint)
  return (
    <div className="field">
      <label htmlFor={control.id}>{label}</label>
      <select {...select} {...control}>
        {options.map((option) => (
          <option key={option.value} value={option.value}>
            {option.label}
          </option>
        ))}
      </select>
      {notes}
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
