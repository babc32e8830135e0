/**
 * Takes server-sent events apart (HTML Standard, 9.2.6), as far as this site uses them: `data:` lines and comments.
 *
 * @param onData called with the data of each event, in order
 * @param maxChars largest event; a longer one is an error, so that a stream without line ends stays bounded
 * @returns takes the next piece of the stream
 * @throws {RangeError} from the returned function
 */
export function eventLines(onData: (data: string) => void, maxChars = 1_000_000): (chunk: string) => void {
  let rest = ''
  let data: string[] = []
  let dataChars = 0

  function takeLine(line: string): void {
    if (line === '') {
      if (data.length > 0) onData(data.join('\n'))
      data = []
      dataChars = 0
    } else if (line.startsWith('data:')) {
      data.push(line.slice(line.startsWith('data: ') ? 6 : 5))
      dataChars += line.length
    }
  }

  return (chunk) => {
    const lines = (rest + chunk).split(/\r\n|\n/)
    rest = lines.pop() ?? ''
    for (const line of lines) takeLine(line)
    if (rest.length + dataChars > maxChars)
      throw new RangeError(`an event is longer than ${maxChars} characters`)
  }
}
