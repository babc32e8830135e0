import type { ProofKeyPair } from '#core/identity/proof.ts'

/**
 * Keys of this browser. Private halves are not extractable: a script can use them while the page is open,
 * nobody can take them away.
 */

const database = 'trustcast'
const store = 'keys'
const proof = 'proof'

export function createProofKeyPair(): Promise<ProofKeyPair> {
  return crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign', 'verify'])
}

/** Keeps the key of this web session for all tabs, in place of an earlier one. */
export async function saveProofKeyPair(keyPair: ProofKeyPair): Promise<void> {
  await inStore('readwrite', (keys) => keys.put(keyPair, proof))
}

/** The key of this web session, or undefined when nobody has signed in with this browser. */
export async function loadProofKeyPair(): Promise<ProofKeyPair | undefined> {
  return (await inStore('readonly', (keys) => keys.get(proof))) as ProofKeyPair | undefined
}

export async function deleteProofKeyPair(): Promise<void> {
  await inStore('readwrite', (keys) => keys.delete(proof))
}

async function inStore(
  mode: IDBTransactionMode,
  use: (keys: IDBObjectStore) => IDBRequest,
): Promise<unknown> {
  const opening = indexedDB.open(database, 1)
  opening.addEventListener('upgradeneeded', () => opening.result.createObjectStore(store))
  const opened = (await settled(opening)) as IDBDatabase
  try {
    return await settled(use(opened.transaction(store, mode).objectStore(store)))
  } finally {
    opened.close()
  }
}

function settled(request: IDBRequest): Promise<unknown> {
  return new Promise((resolve, reject) => {
    request.addEventListener('success', () => resolve(request.result))
    request.addEventListener('error', () => reject(request.error ?? new Error('this browser keeps no keys')))
  })
}
