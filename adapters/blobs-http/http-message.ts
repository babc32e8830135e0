export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE'
  /** Path and query, beginning with `/`. */
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Uint8Array
  /** Asks for these bytes only. An answer with others is an error, one with another status than 206 is not. */
  readonly range?: HttpRange
  /** Of the answer's body. A longer one of an error is cut, any other refused. */
  readonly maximumBytes: number
  readonly signal?: AbortSignal | undefined
}

/** A part of something, bytes; not empty. */
export interface HttpRange {
  readonly offset: number
  readonly length: number
}

export interface HttpAnswer {
  readonly status: number
  /** By names in lower case; of a field that came several times all values, RFC 9110 5.3. */
  readonly headers: Readonly<Partial<Record<string, string>>>
  readonly body: Uint8Array
}

/** Of what is not hoped for as much is read, and no more. */
export const maximumErrorBytes = 65_536
