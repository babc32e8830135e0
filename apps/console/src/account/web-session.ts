import { exportProofKey } from '#core/identity/proof.ts'
import { api } from '../api/api.ts'
import { createProofKeyPair, deleteProofKeyPair, saveProofKeyPair } from '../api/keys.ts'
import { navigate } from '../ui/router.tsx'

/** What the portal finds in `history.state` right after a sign-in. */
export const freshSignIn = 'fresh-sign-in'

/** What the sign-in page finds there when it was not asked for. */
export const signInOver = 'sign-in-over'

/** The same, when a form was open in which something had been typed. */
export const signInOverForm = 'sign-in-over-form'

/** Other tabs of this browser: they have one web session with this one. */
const others = new BroadcastChannel('trustcast-sign-in')

/** Calls back when somebody else than `login` signs in in another tab: all that is asked here is asked as them from then on. */
export function onOtherPerson(login: string, callback: () => void): () => void {
  const heard = ({ data }: MessageEvent<unknown>): void => {
    if (data !== login) callback()
  }
  others.addEventListener('message', heard)
  return () => others.removeEventListener('message', heard)
}

/** Makes a new key for this web session and binds the session to it. */
export async function signIn(login: string, password: string): Promise<void> {
  const keyPair = await createProofKeyPair()
  await api.signIn({ login, password, key: await exportProofKey(keyPair.publicKey) })
  // Only now: a refused attempt must not take the key from whoever is signed in here.
  await saveProofKeyPair(keyPair)
  // Of this origin only: a channel takes no other.
  // oxlint-disable-next-line unicorn/require-post-message-target-origin
  others.postMessage(login)
}

/** Ends the web session here even when the site cannot be told: without its key the cookie opens nothing. */
export async function signOut(): Promise<void> {
  try {
    await api.signOut()
  } finally {
    await deleteProofKeyPair()
    sessionStorage.clear()
    navigate('/sign-in', { replace: true })
  }
}
