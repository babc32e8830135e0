import type { DataCopy, Protection } from '#core/api/data.ts'

/** What protects a copy of data, in sentences: the same on the page, in exports and on the command line. */

type Told = Pick<DataCopy, 'machine' | 'since' | 'until'>

/**
 * @param time writes an instant as its reader wants it
 * @returns sentences, the most important first
 */
export function protectionSentences(
  copy: Told & Pick<DataCopy, 'protection'>,
  time: (instant: string) => string,
): readonly string[] {
  return copy.protection.map((one) => sentences[one](copy, time))
}

const sentences: Readonly<Record<Protection, (copy: Told, time: (instant: string) => string) => string>> = {
  'stays-on-host': ({ machine }) =>
    `Stays on host ${machine.name}; only its picture leaves it, encrypted from end to end.`,
  'key-not-sent': () => 'The image’s key has not been sent: nothing can be read.',
  'key-in-memory': ({ until }, time) =>
    `Image under AES-256; its key is in memory only${until === undefined ? '' : `, until ${time(until)} unless prolonged`}.`,
  'key-withdrawn': ({ until }, time) =>
    `The key was taken back; ${until === undefined ? 'the endpoint has not confirmed it' : `until the endpoint confirms it, it can be read until ${time(until)} at the latest`}.`,
  'overlay-discarded': () => 'What is written is under a key in memory and discarded at the end.',
  'overlay-kept': () =>
    'What is written stays on the endpoint under AES-256, unreadable there without the site.',
  'overlay-replicated': () =>
    'What is written stays on the endpoint under AES-256, and is copied to the data centre under the same key.',
  'paused-in-memory': ({ until }, time) =>
    `The key was taken back, but what its machine had in memory stands there, paused and in plaintext, until it is opened again or ended${until === undefined ? '' : `, at ${time(until)} at the latest`}.`,
  'no-key': ({ since }, time) =>
    `What was written is there under AES-256, without its key since ${time(since)}: unreadable without the site.`,
  'discard-asked': ({ machine }) =>
    machine.outOfReach === true
      ? `It is to be discarded and stays: ${machine.name} cannot be told, because it was revoked or its program is too old. Upgrade that, or wipe the device.`
      : `It is to be discarded: ${machine.name} does so as soon as it hears of that, and says so.`,
  'replica-sealed': ({ since }, time) =>
    `Sealed by its endpoint under AES-256, in the data centre since ${time(since)}; its key follows from the image’s, which the site has encrypted.`,
}
