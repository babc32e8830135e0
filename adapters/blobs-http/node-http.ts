import type Http from 'node:http'

/**
 * Node's HTTP. To import it as a module would ask for each thing that it offers, and so load a second client that nobody
 * uses: some 25 ms of each start.
 */
export const http: typeof Http = process.getBuiltinModule('node:http')
