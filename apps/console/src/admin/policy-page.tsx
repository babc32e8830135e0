import { type ReactElement, useRef, useState } from 'react'
import { adminApi } from '../api/api.ts'
import { usePerson } from '../person-context.ts'
import { describe, Problem, Waiting } from '../ui/message.tsx'
import { useAction } from '../ui/use-action.ts'
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
  const [draft, setDraft] = useState<string>()
  const [done, setDone] = useState(false)
  const action = useAction()
  const editor = useRef<HTMLTextAreaElement>(null)
  const text = draft ?? data?.text ?? ''
  const errorLine = action.error === undefined ? undefined : lineOf(describe(action.error).message)

  const activate = () =>
    action.run(async () => {
      try {
        await adminApi.activatePolicy(text)
      } catch (error) {
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
              setDraft(value)
              setDone(false)
            }}
          />
          {action.error !== undefined && <Problem error={action.error} />}
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
                  disabled={draft === undefined || draft === data.text || action.busy}
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
