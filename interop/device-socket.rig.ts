import { request } from 'node:http'

/** One request to the unix socket of a device's service, by whoever calls this. */
export async function askSocket(
  socketPath: string,
  path: string,
  body: object,
): Promise<{ readonly status: number; readonly answer: unknown }> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, method: 'POST', path }, (response) => {
      let text = ''
      response.on('data', (part) => (text += String(part)))
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, answer: JSON.parse(text) as unknown }),
      )
    })
    sent.on('error', reject)
    sent.end(JSON.stringify(body))
  })
}
