/** The little of a page that functions use which run in it. The DOM's own types clash with Node's. */

interface ImageData {
  readonly width: number
  readonly height: number
  readonly data: Uint8ClampedArray
}
interface PageElement {
  readonly scrollWidth: number
  readonly clientWidth: number
  getAttribute(name: string): string | null
}
interface PageCanvas extends PageElement {
  readonly width: number
  readonly height: number
  getContext(
    kind: '2d',
    options?: { willReadFrequently: boolean },
  ): { getImageData(x: number, y: number, width: number, height: number): ImageData } | null
}
declare const document: {
  readonly activeElement: PageElement | null
  readonly documentElement: PageElement
  querySelector(selector: string): PageCanvas | null
  addEventListener(
    kind: 'securitypolicyviolation',
    listener: (event: { readonly violatedDirective: string; readonly blockedURI: string }) => void,
  ): void
}
declare const visualViewport: { dispatchEvent(event: Event): boolean }
declare const history: { readonly state: unknown }
declare function dispatchEvent(event: Event): boolean
declare function getComputedStyle(element: object): {
  readonly backgroundColor: string
  readonly borderBottomColor: string
}
interface Navigator {
  readonly clipboard: { readText(): Promise<string>; writeText(text: string): Promise<void> }
}
declare class MutationObserver {
  constructor(listener: () => void)
  observe(target: PageElement, options: { attributes: boolean; attributeFilter: string[] }): void
}
