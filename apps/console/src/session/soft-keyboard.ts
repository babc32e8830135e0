import type RFB from '@novnc/novnc'

/** X11 keysyms of the keys that a touch keyboard has beside characters. Source: X11 keysymdef.h */
const backspace = 0xff08
const enter = 0xff0d
/** A touch keyboard tells of a deletion only where there is something to delete. */
const filling = ' '.repeat(256)

/** Brings up the touch keyboard and passes on what is typed, until the focus goes elsewhere. */
export function openKeyboard(viewer: RFB): void {
  const field = typingField()
  let typed = ''
  const fill = (): void => {
    field.value = typed = filling
  }
  // Not by its events: of a word that is still composed, or that the keyboard takes up again, each tells the whole.
  field.addEventListener('input', () => {
    for (const keysym of keysymsBetween(typed, field.value)) viewer.sendKey(keysym, null)
    typed = field.value
    if (typed === '') fill()
  })
  field.addEventListener('blur', () => field.remove())
  fill()
  document.body.append(field)
  field.focus()
}

/** Where the browser puts what is typed. It is not seen. */
export function typingField(): HTMLTextAreaElement {
  const field = document.createElement('textarea')
  field.className = 'soft-keyboard'
  field.setAttribute('aria-label', 'Typing goes to the session')
  field.autocapitalize = 'none'
  field.autocomplete = 'off'
  field.spellcheck = false
  return field
}

/** The key presses that make one text of another, as at its end. */
export function keysymsBetween(before: string, after: string): readonly number[] {
  const [old, now] = [Array.from(before), Array.from(after)]
  const differs = now.findIndex((character, at) => character !== old[at])
  const kept = differs < 0 ? now.length : differs
  return [...old.slice(kept).map(() => backspace), ...now.slice(kept).map(keysymOf)]
}

function keysymOf(character: string): number {
  const point = character.codePointAt(0) ?? 0
  if (character === '\n') return enter
  return point < 0x100 ? point : 0x01000000 | point
}
