import type RFB from '@novnc/novnc'

/** X11 keysyms of the keys that a touch keyboard has beside characters. Source: X11 keysymdef.h */
const backspace = 0xff08
const enter = 0xff0d

/** Brings up the touch keyboard and passes on what is typed, until the focus goes elsewhere. */
export function openKeyboard(viewer: RFB): void {
  const field = document.createElement('textarea')
  field.className = 'soft-keyboard'
  field.setAttribute('aria-label', 'Typing goes to the session')
  field.autocapitalize = 'none'
  field.autocomplete = 'off'
  field.spellcheck = false
  field.addEventListener('beforeinput', (event) => {
    event.preventDefault()
    for (const keysym of keysymsOf(event.inputType, event.data)) viewer.sendKey(keysym, null)
  })
  field.addEventListener('blur', () => field.remove())
  document.body.append(field)
  field.focus()
}

/** What one input event means as key presses. */
export function keysymsOf(inputType: string, data: string | null): readonly number[] {
  if (inputType === 'deleteContentBackward') return [backspace]
  if (inputType === 'insertLineBreak' || inputType === 'insertParagraph') return [enter]
  return Array.from(data ?? '', (character) => {
    const point = character.codePointAt(0) ?? 0
    if (character === '\n') return enter
    return point < 0x100 ? point : 0x01000000 | point
  })
}
