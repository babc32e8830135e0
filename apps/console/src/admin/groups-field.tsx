import { type ReactElement, useRef, useState } from 'react'
import { TextField, words } from '../ui/fields.tsx'
import { Icon } from '../ui/icons.tsx'

/** More are found by their letters. */
const mostOffered = 12

/** The groups of a person, as words. Those that there are are offered, so that none is mistyped; one that gives nothing says so. */
export function GroupsField(props: {
  readonly groups: readonly string[]
  /** That anybody is in. */
  readonly inUse: readonly string[]
  /** That the policy or the site names. */
  readonly counting: readonly string[]
}): ReactElement {
  const { inUse, counting } = props
  const [text, setText] = useState(props.groups.join(' '))
  const box = useRef<HTMLDivElement>(null)
  const chosen = words(text)
  const others = [...new Set([...counting, ...inUse])].filter((group) => !chosen.includes(group))
  const begun = /[^\s,]*$/.exec(text)?.[0] ?? ''
  const alike = others.filter((group) => group.includes(begun))
  const offered = (alike.length === 0 ? others : alike).slice(0, mostOffered)

  function add(group: string): void {
    // A group that is whole stays; what has only been begun becomes the one that was chosen.
    const isBegun = alike.length > 0 && !inUse.includes(begun) && !counting.includes(begun)
    const before = isBegun ? text.slice(0, text.length - begun.length) : text
    setText(`${[...words(before), group].join(' ')} `)
    box.current?.querySelector('input')?.focus()
  }

  return (
    <div className="groups" ref={box}>
      <TextField
        label="Groups"
        name="groups"
        value={text}
        onChange={(event) => setText(event.target.value)}
        hint="Separated by spaces."
        pattern="[\s,]*([a-z][a-z0-9\-]{0,39}([\s,]+|$))*"
        title="Each of lower-case letters, digits and dashes, 40 at most"
        autoComplete="off"
        autoCapitalize="none"
        spellCheck={false}
      />
      {offered.length > 0 && (
        <ul className="chips" aria-label="Suggestions">
          {offered.map((group) => (
            <li key={group}>
              <button type="button" className="button button-small" onClick={() => add(group)}>
                <Icon name="plus" />
                {group}
              </button>
            </li>
          ))}
        </ul>
      )}
      <div role="status">
        {chosen
          .filter((group) => !counting.includes(group))
          .map((group) => (
            <p key={group}>
              {inUse.includes(group)
                ? `The policy does not name “${group}”: it gives no access.`
                : `“${group}” is used nowhere: nobody is in it and the policy does not name it. It gives no access.`}
            </p>
          ))}
      </div>
    </div>
  )
}
