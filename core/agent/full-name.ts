/**
 * A person as hosts and endpoints are told to name them. The login stands beside the name: a watermark draws ASCII alone, which would leave
 * nothing of many a name, and two people may have the same.
 *
 * @returns at most 95 characters
 */
export function fullNameOf({ name, login }: { readonly name: string; readonly login: string }): string {
  return `${name.slice(0, 60).toWellFormed()} (${login})`
}
