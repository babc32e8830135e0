import { createContext, useContext } from 'react'
import type { Me } from '#core/api/person.ts'

/** The signed-in person, and a way to ask the site again what it knows about them. */
export interface PersonContext {
  readonly me: Me
  readonly siteName: string
  readonly reload: () => void
}

export const personContext = createContext<PersonContext | undefined>(undefined)

/** Only below a page that needs a web session. */
export function usePerson(): PersonContext {
  const person = useContext(personContext)
  if (person === undefined) throw new Error('this page is drawn only for a signed-in person')
  return person
}
