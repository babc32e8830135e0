import type RFB from '@novnc/novnc'
import { useEffect, useRef, useState } from 'react'
import { size } from '../words.ts'
import type { Conditions } from './session-link.ts'

export interface SessionClipboard {
  /** Last text that the session's clipboard held. */
  readonly received: string
  /** The text is on this computer's clipboard already. */
  readonly copied: boolean
  readonly send: (text: string) => void
  /** This computer's clipboard follows by itself. */
  readonly automatic: boolean
  /** Asks the browser for permission. */
  readonly makeAutomatic: () => void
}

/**
 * Joins the clipboards of this computer and of the session, as far as the browser permits it. What policy permits is
 * enforced by the host: here it only decides what is worth trying.
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
  const limits = useRef(conditions)
  limits.current = conditions

  useEffect(() => {
    viewer?.addEventListener('clipboard', ({ detail }) => {
      common.current = detail.text
      setReceived(detail.text)
      setCopied(false)
      navigator.clipboard.writeText(detail.text).then(
        () => setCopied(true),
        () => undefined,
      )
    })
  }, [viewer])

  useEffect(() => {
    queryRead().then(setAutomatic, () => undefined)
  }, [])

  function send(text: string): void {
    const maximum = limits.current?.obligations.clipboardMaxBytes ?? 0
    if (new TextEncoder().encode(text).length > maximum) {
      onNotice(`Not copied: the policy allows ${size(maximum)} at a time.`)
      return
    }
    common.current = text
    viewer?.clipboardPasteFrom(text)
  }

  useEffect(() => {
    if (!automatic || viewer === undefined) return
    const follow = async (): Promise<void> => {
      if (limits.current?.rights.includes('clipboard-in') !== true) return
      const text = await navigator.clipboard.readText()
      if (text !== '' && text !== common.current) send(text)
    }
    const onFocus = (): void => {
      if (document.hasFocus()) follow().catch(() => undefined)
    }
    onFocus()
    window.addEventListener('focus', onFocus)
    return () => window.removeEventListener('focus', onFocus)
  }, [automatic, viewer])

  function makeAutomatic(): void {
    navigator.clipboard.readText().then(
      () => setAutomatic(true),
      () => onNotice('This browser does not let the page read the clipboard. Use the text area instead.'),
    )
  }

  return { received, copied, send, automatic, makeAutomatic }
}

async function queryRead(): Promise<boolean> {
  const permission = await navigator.permissions.query({ name: 'clipboard-read' as PermissionName })
  return permission.state === 'granted'
}
