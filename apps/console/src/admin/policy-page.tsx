import { type ReactElement, useRef, useState } from 'react'
import { adminApi } from '../api/api.ts'
import { usePerson } from '../person-context.ts'
import { describe, Problem, Waiting } from '../ui/message.tsx'
import { useAction } from '../ui/use-action.ts'
import { useDraft } from '../ui/use-draft.ts'
import { useNow, useResource } from '../ui/use-resource.ts'
import { ago } from '../words.ts'
import { lineOf } from './line-of.ts'
import { PageHead } from './page-head.tsx'
import { PolicyEditor } from './policy-editor.tsx'
import { ZoneEditor } from './zone-editor.tsx'

/** The policy in force, and the networks it knows. What does not validate never takes effect. */
export function PolicyPage(): ReactElement {
  const { me } = usePerson()
  const { data, error, reload } = useResource(adminApi.policy)
  const now = useNow()
  const [draft, setDraft] = useDraft(`policy of ${me.id}`)
  const [done, setDone] = useState(false)
  const action = useAction()
  const editor = useRef<HTMLTextAreaElement>(null)
  const text = draft?.text ?? data?.text ?? ''
  /** Somebody has activated another one since the draft was begun. */
  const isOvertaken = draft !== undefined && data !== undefined && draft.basis !== data.tag
  const errorLine = action.error === undefined ? undefined : lineOf(describe(action.error).message)

  const activate = () =>
    action.run(async () => {
      try {
        await adminApi.activatePolicy(text, data?.tag ?? '')
      } catch (error) {
        if (describe(error).code === 'CONFLICT') reload()
        editor.current?.focus()
        throw error
      }
      setDraft(undefined)
      setDone(true)
      reload()
    })

  return (
    <>
      <PageHead title="Policy">
        Cedar policies decide every launch. Whatever they do not permit is refused, and so is anything they
        fail on.
      </PageHead>
      {data === undefined ? (
        error === undefined ? (
          <Waiting label="Loading the policy" />
        ) : (
          <Problem error={error} retry={reload} />
        )
      ) : (
        <>
          <PolicyEditor
            editor={editor}
            text={text}
            errorLine={errorLine}
            readOnly={!me.admin}
            onChange={(value) => {
              setDraft({ text: value, basis: draft?.basis ?? data.tag })
              setDone(false)
            }}
          />
          {action.error !== undefined && <Problem error={action.error} />}
          {isOvertaken && (
            <details>
              <summary>In force now, by {data.activatedBy}: activating your draft replaces it</summary>
              <pre className="policy-now">{data.text}</pre>
            </details>
          )}
          <footer className="editor-foot">
            <p className="grow muted small" role="status">
              {done && 'In force now; running sessions are being decided again. '}
              Activated {ago(data.activatedAt, now)} by {data.activatedBy}.{' '}
              <span className="mono digest" title={data.digest}>
                {data.digest}
              </span>
            </p>
            {me.admin && (
              <>
                <button
                  type="button"
                  className="button"
                  disabled={draft === undefined || action.busy}
                  onClick={() => setDraft(undefined)}
                >
                  Discard changes
                </button>
                <button
                  type="button"
                  className="button button-primary"
                  disabled={draft === undefined || text === data.text || action.busy}
                  onClick={activate}
                >
                  {action.busy ? 'Checking…' : 'Check and activate'}
                </button>
              </>
            )}
          </footer>
        </>
      )}
      <ZoneEditor />
    </>
  )
}
