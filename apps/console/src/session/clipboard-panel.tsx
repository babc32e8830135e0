import { type ReactElement, useId, useState } from 'react'
import type { Right } from '#core/trust/words.ts'
import { sentence, size } from '../words.ts'
import type { Conditions } from './screen-link.ts'
import type { SessionClipboard } from './use-clipboard.ts'

/** Text in both directions, by hand; always works, whatever the browser permits. */
export function ClipboardPanel(props: {
  readonly clipboard: SessionClipboard
  readonly conditions: Conditions | undefined
}): ReactElement {
  const { clipboard, conditions } = props
  const [text, setText] = useState('')
  const [sent, setSent] = useState('')
  const id = useId()
  const reasonAgainst = (right: Right): string | undefined =>
    conditions?.restrictions.find((restriction) => restriction.right === right)?.reason
  const inOff = reasonAgainst('clipboard-in')
  const outOff = reasonAgainst('clipboard-out')

  return (
    <section className="panel" aria-label="Clipboard">
      <div className="field">
        <label htmlFor={`${id}-in`}>To the session</label>
        <textarea
          id={`${id}-in`}
          rows={3}
          value={text}
          disabled={inOff !== undefined}
          placeholder={inOff === undefined ? 'Paste or type here' : ''}
          onChange={(event) => setText(event.target.value)}
        />
        {inOff !== undefined ? (
          <p className="hint">Copying in is off: {sentence(inOff)}</p>
        ) : (
          <div className="field-foot">
            <span className="hint" role="status">
              {sent !== '' && sent === text ? 'On the session’s clipboard' : limit(conditions)}
            </span>
            <button
              type="button"
              className="button button-small"
              disabled={text === ''}
              onClick={() => {
                if (clipboard.send(text)) setSent(text)
              }}
            >
              Send to session
            </button>
          </div>
        )}
      </div>
      <div className="field">
        <label htmlFor={`${id}-out`}>From the session</label>
        <textarea
          id={`${id}-out`}
          rows={3}
          readOnly
          value={outOff === undefined ? clipboard.received : ''}
          disabled={outOff !== undefined}
          placeholder={outOff === undefined ? 'What you copy in the session appears here' : ''}
        />
        {outOff !== undefined ? (
          <p className="hint">Copying out is off: {sentence(outOff)}</p>
        ) : (
          <span className="hint" role="status">
            {clipboard.copied && clipboard.received !== '' && 'Also on this computer’s clipboard'}
          </span>
        )}
      </div>
      {inOff === undefined && (
        <button
          type="button"
          className="button button-small"
          disabled={clipboard.automatic}
          onClick={clipboard.makeAutomatic}
        >
          {clipboard.automatic ? 'Follows this computer’s clipboard' : 'Follow this computer’s clipboard'}
        </button>
      )}
    </section>
  )
}

function limit(conditions: Conditions | undefined): string {
  return conditions === undefined ? '' : `Up to ${size(conditions.obligations.clipboardMaxBytes)}`
}
