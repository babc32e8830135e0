/** What Back leaves before the page, the innermost last. */
const layers: { readonly leave: () => void }[] = []
/** The entry of the history that Back takes away while there is any; one for all of them. */
const entry = 'layer'
let here = ''
let isGoingBack = false

/** Has Back call `leave`, which may ask first, instead of leaving the page. @returns ends it */
export function onBack(leave: () => void): () => void {
  const layer = { leave }
  layers.push(layer)
  here = location.href
  keepEntry()
  return () => {
    layers.splice(layers.indexOf(layer), 1)
    // Another may follow at once.
    queueMicrotask(keepEntry)
  }
}

function keepEntry(): void {
  if (isGoingBack) return
  if (layers.length > 0 && history.state !== entry) history.pushState(entry, '')
  if (layers.length === 0 && history.state === entry) {
    isGoingBack = true
    history.back()
  }
}

window.addEventListener(
  'popstate',
  () => {
    if (isGoingBack) {
      isGoingBack = false
      keepEntry()
    } else if (layers.length > 0) {
      // Also where Back went further: nobody has seen yet that the page was left.
      history.pushState(entry, '', here)
      layers.at(-1)?.leave()
    }
  },
  { capture: true },
)
