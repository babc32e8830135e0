import type { JSHandle, Page } from 'playwright-core'
import { until } from '../../../interop/running-site.rig.ts'

/** Reading and using the screen of a session as a person does: by its pixels, its keyboard and its pointer. */

type Colour = readonly [red: number, green: number, blue: number]

/** Two colours of the terminal (`ESC[41m`, `ESC[42m`), far from everything else on the desktop. */
const barColours = { red: [0xff, 0x7b, 0x86], green: [0x7f, 0xd8, 0x8f] } as const satisfies Record<
  string,
  Colour
>

/** Waits for the first picture. */
export async function untilLive(page: Page): Promise<void> {
  await page.locator('.session-live .screen canvas').waitFor()
}

/** Types a line into the terminal that every demo desktop opens. */
export async function typeLine(page: Page, line: string): Promise<void> {
  if (await page.locator('.bar .panel').isVisible())
    await page.getByRole('button', { name: 'Session controls' }).click()
  await page.locator('.screen canvas').focus()
  await page.keyboard.type(`${line}\n`, { delay: 5 })
}

/**
 * Shell words that draw the value of an expression: a red bar as long as the number, under a green one of ten cells to
 * compare with.
 */
export function barOf(expression: string): string {
  return `clear; printf '\\033[42m%10s\\033[0m\\n\\033[41m%*s\\033[0m\\n' '' $(( ${expression} )) ''`
}

/**
 * Has a `barOf` typed, and waits until its bar has this length. A terminal that opens after the first picture of its desktop misses what was
 * typed before, or the beginning of it: it is typed again.
 */
export async function untilDrawn(page: Page, value: number, type: () => Promise<void>): Promise<void> {
  const isDrawn = async () => {
    await type()
    return untilBar(page, value, 8_000).then(
      () => true,
      () => page.keyboard.press('Control+C').then(() => false),
    )
  }
  await until(isDrawn, `the screen shows a bar of ${value}`, 30_000)
}

/** Waits until the number that the last `barOf` drew is this one. */
export async function untilBar(page: Page, value: number, timeoutMs?: number): Promise<void> {
  await until(async () => (await readBar(page)) === value, `the screen shows a bar of ${value}`, timeoutMs)
}

/** The picture as it is now, kept in the page. */
export async function rememberPicture(page: Page): Promise<JSHandle<ImageData>> {
  return page.evaluateHandle(() => {
    const canvas = document.querySelector('.screen canvas')
    const image = canvas?.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height)
    if (image === undefined) throw new Error('there is no picture')
    return image
  })
}

/** Waits until at least this many pixels differ visibly from a picture of the same size. */
export async function untilDiffers(
  page: Page,
  before: JSHandle<ImageData>,
  pixels: number,
  timeoutMs = 20_000,
): Promise<void> {
  await page.waitForFunction(
    ({ before, pixels }) => {
      const canvas = document.querySelector('.screen canvas')
      const now = canvas?.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height)
      if (now === undefined || now.data.length !== before.data.length) return false
      let count = 0
      for (let at = 0; at < now.data.length; at += 4)
        if (Math.abs((now.data[at] ?? 0) - (before.data[at] ?? 0)) > 12) count += 1
      return count >= pixels
    },
    { before, pixels },
    { timeout: timeoutMs },
  )
}

/** Opens one of the toolbar's panels. */
export async function openPanel(page: Page, name: 'Clipboard' | 'Restrictions'): Promise<void> {
  const handle = page.getByRole('button', { name: 'Session controls' })
  if ((await handle.getAttribute('aria-expanded')) !== 'true') await handle.click()
  const button = page.getByRole('toolbar').getByRole('button', { name })
  if ((await button.getAttribute('aria-expanded')) !== 'true') await button.click()
  await page.getByRole('region', { name }).waitFor()
}

/** The number that is on the screen now; not a number when there is none. */
async function readBar(page: Page): Promise<number> {
  const [ten = 0, bar = 0] = await page.evaluate(longestRuns, [barColours.green, barColours.red])
  return Math.round((10 * bar) / ten)
}

/** Runs in the page. Length of the longest row of pixels of each colour; the picture may be lossy. */
function longestRuns(colours: readonly Colour[]): number[] {
  const canvas = document.querySelector('.screen canvas')
  const image = canvas
    ?.getContext('2d', { willReadFrequently: true })
    ?.getImageData(0, 0, canvas.width, canvas.height)
  if (image === undefined) return []
  const { data, width } = image
  return colours.map((colour) => {
    let longest = 0
    let run = 0
    for (let at = 0; at < data.length; at += 4) {
      const same = colour.every((part, index) => Math.abs((data[at + index] ?? 0) - part) <= 24)
      run = same && at % (4 * width) !== 0 ? run + 1 : 0
      longest = Math.max(longest, run)
    }
    return longest
  })
}
