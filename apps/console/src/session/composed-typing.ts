import type RFB from '@novnc/novnc'
import { keysymsBetween, typingField } from './soft-keyboard.ts'

/**
 * Has what is composed of several keys, such as é of a dead accent and e, typed in the session. Browsers compose only in fields, so one has
 * the focus in the place of the picture and gives it all other keys.
 *
 * @param screen holds the viewer's canvas
 */
export function composeTyping(viewer: RFB, screen: HTMLElement): void {
  const canvas = screen.querySelector('canvas')
  // Where a touch keyboard comes with the focus it is opened when it is asked for.
  if (canvas === null || matchMedia('(pointer: coarse)').matches) return
  const field = typingField()
  field.tabIndex = -1
  const type = (text: string | null): void => {
    for (const keysym of keysymsBetween('', text ?? '')) viewer.sendKey(keysym, null)
    field.value = ''
  }
  field.addEventListener('compositionend', ({ data }) => type(data))
  field.addEventListener('input', (event) => {
    // Of what is composed some browsers tell here again.
    if (event instanceof InputEvent && event.inputType === 'insertText') type(event.data)
  })
  const pass = (event: KeyboardEvent): void => {
    if (!canvas.dispatchEvent(sameKey(event))) event.preventDefault()
  }
  field.addEventListener('keydown', (event) => {
    if (!event.isComposing && event.key !== 'Process') pass(event)
  })
  // Also of a key that was held when the composing began: it would stay down. One that was never pressed means nothing.
  field.addEventListener('keyup', pass)
  canvas.addEventListener('focus', () => field.focus({ preventScroll: true }))
  viewer.addEventListener('disconnect', () => field.remove())
  screen.append(field)
  if (document.activeElement === canvas) field.focus()
}

/** An event is given to one element only; and a copy knows of no locks by itself. */
function sameKey(event: KeyboardEvent): KeyboardEvent {
  return new KeyboardEvent(event.type, {
    key: event.key,
    code: event.code,
    keyCode: event.keyCode,
    location: event.location,
    repeat: event.repeat,
    cancelable: true,
    ctrlKey: event.ctrlKey,
    shiftKey: event.shiftKey,
    altKey: event.altKey,
    metaKey: event.metaKey,
    modifierAltGraph: event.getModifierState('AltGraph'),
    modifierCapsLock: event.getModifierState('CapsLock'),
    modifierNumLock: event.getModifierState('NumLock'),
  })
}
