/** What is wrong, and what to do. */
export interface Trouble {
  readonly message: string
  readonly remedy?: string
}
