import { type ReactElement, type RefObject, useEffect, useRef } from 'react'

const lineHeightPx = 20

/** Plain text with line numbers. Tab leaves it, as everywhere: the keyboard must find its way out. */
export function PolicyEditor(props: {
  readonly editor: RefObject<HTMLTextAreaElement | null>
  readonly text: string
  readonly errorLine: number | undefined
  readonly readOnly: boolean
  readonly onChange: (text: string) => void
}): ReactElement {
  const { editor, text, errorLine } = props
  const gutter = useRef<HTMLDivElement>(null)
  const lines = text.split('\n').length

  useEffect(() => {
    if (errorLine === undefined || editor.current === null) return
    const start =
      text
        .split('\n')
        .slice(0, errorLine - 1)
        .join('\n').length + (errorLine > 1 ? 1 : 0)
    const end = text.indexOf('\n', start)
    editor.current.setSelectionRange(start, end === -1 ? text.length : end)
    editor.current.scrollTop = Math.max(0, (errorLine - 5) * lineHeightPx)
    // Only when an error arrives: typing on must not move the selection.
    // eslint-disable-next-line react/exhaustive-deps
  }, [errorLine, editor])

  return (
    <div className="editor">
      <div className="editor-lines" ref={gutter} aria-hidden="true">
        {Array.from({ length: lines }, (_, index) => (
          <span key={index} className={index + 1 === errorLine ? 'editor-line-bad' : ''}>
            {index + 1}
          </span>
        ))}
      </div>
      <textarea
        ref={editor}
        aria-label="Policy text"
        aria-invalid={errorLine !== undefined}
        value={text}
        readOnly={props.readOnly}
        wrap="off"
        spellCheck={false}
        autoCapitalize="none"
        onChange={(event) => props.onChange(event.target.value)}
        onScroll={(event) => {
          if (gutter.current !== null) gutter.current.scrollTop = event.currentTarget.scrollTop
        }}
      />
    </div>
  )
}
