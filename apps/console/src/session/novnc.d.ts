/** The part of noVNC 1.7 that the session page uses (its docs/API.md). */
declare module '@novnc/novnc' {
  interface RfbEvents {
    connect: CustomEvent
    disconnect: CustomEvent<{ clean: boolean }>
    clipboard: CustomEvent<{ text: string }>
    securityfailure: CustomEvent<{ status: number; reason?: string }>
  }

  export default class RFB {
    constructor(target: Element, channel: object, options?: { shared?: boolean })
    viewOnly: boolean
    scaleViewport: boolean
    resizeSession: boolean
    /** 0 to 9, JPEG quality of Tight. */
    qualityLevel: number
    /** 0 to 9. */
    compressionLevel: number
    background: string
    addEventListener<Name extends keyof RfbEvents>(
      type: Name,
      listener: (event: RfbEvents[Name]) => void,
    ): void
    removeEventListener<Name extends keyof RfbEvents>(
      type: Name,
      listener: (event: RfbEvents[Name]) => void,
    ): void
    disconnect(): void
    focus(options?: FocusOptions): void
    blur(): void
    sendCtrlAltDel(): void
    sendKey(keysym: number, code: string | null, down?: boolean): void
    clipboardPasteFrom(text: string): void
  }
}
