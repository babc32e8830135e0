import type RFB from '@novnc/novnc'
import { useEffect, useEffectEvent, useRef, useState } from 'react'
import { size } from '../words.ts'
import type { Conditions } from './screen-link.ts'

export interface SessionClipboard {
  /** Last text that the session's clipboard held. */
  readonly received: string
  /** The text is on this computer's clipboard already. */
  readonly copied: boolean
  /** False when it was not. */
  readonly send: (text: string) => boolean
  /** This computer's clipboard follows by itself. */
  readonly automatic: boolean
  /** Asks the browser for permission. */
  readonly makeAutomatic: () => void
}

/**
 * Joins the clipboards of this computer and of the session, as far as the browser permits it. What policy permits is
 * enforced by the host: here it only decides what is worth trying.
 *
 * @param viewer once there is a picture: before that it sends no text, or none but Latin
 */
export function useClipboard(
  viewer: RFB | undefined,
  conditions: Conditions | undefined,
  onNotice: (text: string) => void,
): SessionClipboard {
  const [received, setReceived] = useState('')
  const [copied, setCopied] = useState(false)
  const [automatic, setAutomatic] = useState(false)
  /** What both sides hold, so that a text does not travel in circles. */
  const common = useRef('')

  function send(text: string): boolean {
    const maximum = conditions?.obligations.clipboardMaxBytes ?? 0
    if (sizeOnWire(text) > maximum) {
      onNotice(`Not copied: the policy allows ${size(maximum)} at a time.`)
      return false
    }
    if (viewer === undefined) return false
    common.current = text
    viewer.clipboardPasteFrom(text)
    return true
  }

  const receive = useEffectEvent(async (text: string) => {
    common.current = text
    setReceived(text)
    setCopied(await tryWrite(text))
  })
  useEffect(() => {
    const hear = ({ detail }: { readonly detail: { readonly text: string } }): void =>
      void receive(detail.text)
    viewer?.addEventListener('clipboard', hear)
    return () => viewer?.removeEventListener('clipboard', hear)
  }, [viewer])

  const follow = useEffectEvent(async () => {
    if (conditions?.rights.includes('clipboard-in') !== true || !document.hasFocus()) return
    const text = await tryRead()
    if (text !== '' && text !== common.current) send(text)
  })
  useEffect(() => {
    if (viewer === undefined || !automatic) return undefined
    const onFocus = (): void => void follow()
    onFocus()
    window.addEventListener('focus', onFocus)
    return () => window.removeEventListener('focus', onFocus)
  }, [viewer, automatic])
  useEffect(() => {
    queryRead().then(setAutomatic, () => undefined)
  }, [])

  function makeAutomatic(): void {
    navigator.clipboard.readText().then(
      () => setAutomatic(true),
      () => onNotice('This browser does not let the page read the clipboard. Use the text area instead.'),
    )
  }

  return { received, copied, send, automatic, makeAutomatic }
}

/** As the host counts it. Source: rfbproto "Extended Clipboard": UTF-8, lines end with CR LF, the text with a zero byte */
function sizeOnWire(text: string): number {
  return new TextEncoder().encode(text.replace(/\r\n|\r|\n/g, '\r\n')).length + 1
}

async function queryRead(): Promise<boolean> {
  const permission = await navigator.permissions.query({ name: 'clipboard-read' as PermissionName })
  return permission.state === 'granted'
}

/** True when the text is on this computer's clipboard now; browsers refuse while the page has no focus. */
async function tryWrite(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    return false
  }
}

async function tryRead(): Promise<string> {
  try {
    return await navigator.clipboard.readText()
  } catch {
    return ''
  }
}
