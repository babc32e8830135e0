import { type ReactElement, useEffect, useState } from 'react'
import { Icon } from './icons.tsx'

/** Copies a text that is shown beside it, and says so for a moment. */
export function CopyButton({ text, label }: { readonly text: string; readonly label: string }): ReactElement {
  const [copied, setCopied] = useState(false)
  useEffect(() => {
    if (!copied) return undefined
    const timer = setTimeout(() => setCopied(false), 2000)
    return () => clearTimeout(timer)
  }, [copied])
  return (
    <>
      <button
        type="button"
        className="button-icon copy"
        aria-label={label}
        title={label}
        onClick={() => void navigator.clipboard.writeText(text).then(() => setCopied(true))}
      >
        <Icon name={copied ? 'check' : 'copy'} />
      </button>
      <span className="visually-hidden" role="status">
        {copied && 'Copied'}
      </span>
    </>
  )
}

/** A command as it is typed on some machine. */
export function CommandLine({
  text,
  label,
}: {
  readonly text: string
  readonly label: string
}): ReactElement {
  return (
    <div className="command-line">
      <code>{text}</code>
      <CopyButton text={text} label={label} />
    </div>
  )
}

/** The beginning of a digest; whoever compares it copies all of it. */
export function Digest({ value, of }: { readonly value: string; readonly of: string }): ReactElement {
  return (
    <span className="digest-short">
      <span className="mono" title={value}>
        {value.slice(0, 12)}…
      </span>
      <CopyButton text={value} label={`Copy the digest of ${of}`} />
    </span>
  )
}
