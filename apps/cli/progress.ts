/** A line at the bottom of a terminal that says how far something is; nothing where nobody watches. */
export interface Progress extends Disposable {
  show(line: string): void
}

const everyMs = 200

export function progressLine(stream: NodeJS.WriteStream = process.stderr): Progress {
  let last = 0
  return {
    show: (line) => {
      const now = performance.now()
      if (!stream.isTTY || now - last < everyMs) return
      last = now
      // A serial console says that it has 0 columns.
      const columns = stream.columns > 0 ? stream.columns : 80
      stream.write(`\r\u001B[K${line.slice(0, columns - 1)}`)
    },
    [Symbol.dispose]: () => {
      if (last > 0) stream.write('\r\u001B[K')
    },
  }
}
