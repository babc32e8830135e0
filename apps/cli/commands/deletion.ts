import { type Credentials, callJson, type SiteAddress } from '#apps/site-client/call.ts'
import { type DeletionView, deletionView, peopleAnswer } from '#core/api/admin.ts'
import { slug } from '#core/api/words.ts'
import { outlookSentences } from '#core/data/index.ts'
import { ask } from '../ask.ts'
import { CliError, usage } from '../cli-error.ts'
import { type Command, commandGroup, type Output, parse } from '../command.ts'
import { readLogin } from '../login-file.ts'
import { sizeText } from './image/store-options.ts'

const options = { discard: { type: 'boolean' }, yes: { type: 'boolean' } } as const
const afterwards =
  'Says what that leads to and asks, unless --yes is given. What was written is kept, sealed; with --discard it goes, from devices and hosts as soon as they hear of that.'

const deletePerson: Command = {
  synopsis: 'delete LOGIN [--discard] [--yes]',
  summary: `Delete a person for good (admins): sign-ins, sessions and leases end at once. ${afterwards}`,
  run: async (args, out) => {
    const words = parse(args, options, [1, 1])
    const [login = ''] = words.positionals
    const { site, credentials } = await readLogin()
    const path = `/api/v1/admin/people/${await idOf(login, site, credentials)}`
    await deleteThing(path, login, words, out)
  },
}

const deleteWorkspace: Command = {
  synopsis: 'delete WORKSPACE [--discard] [--yes]',
  summary: `Delete a workspace for good (admins): its sessions and leases end at once, its identifier is never used again. ${afterwards}`,
  run: async (args, out) => {
    const words = parse(args, options, [1, 1])
    const { success, data: id } = slug.safeParse(words.positionals[0])
    if (!success) throw usage('WORKSPACE is the identifier that the page Workspaces shows')
    await deleteThing(`/api/v1/admin/workspaces/${id}`, id, words, out)
  },
}

export const person: Command = commandGroup('People of the site.', { delete: async () => deletePerson })
export const workspace: Command = commandGroup('Workspaces of the site.', {
  delete: async () => deleteWorkspace,
})

async function deleteThing(
  path: string,
  name: string,
  words: ReturnType<typeof parse>,
  out: Output,
): Promise<void> {
  const { site, credentials } = await readLogin()
  const data = words.flag('discard') ? 'discard' : 'keep'
  const inLines = (view: DeletionView): string => outlookSentences(view, data, sizeText).join('\n')
  if (!words.flag('yes')) {
    const outlook = await callJson(
      site,
      { method: 'GET', path: `${path}/deletion` },
      deletionView,
      credentials,
    )
    out.say(`Deleting ${name} cannot be undone.\n${inLines(outlook)}`)
    if ((await ask(`Type ${name} to delete it: `, false)) !== name)
      throw new CliError('CLI_NOT_CONFIRMED', `${name} was not deleted`, {
        remedy: `Type ${name} when asked, or give --yes.`,
      })
  }
  const request = { method: 'DELETE', path: `${path}?data=${data}` }
  const done = await callJson(site, request, deletionView, credentials)
  out.result(done, () => `Deleted ${name}.\n${inLines(done)}`)
}

/** Page by page: a search finds names, too. */
async function idOf(login: string, site: SiteAddress, credentials: Credentials): Promise<string> {
  let after: string | undefined
  do {
    const query = new URLSearchParams({
      search: login,
      limit: '200',
      ...(after === undefined ? {} : { after }),
    })
    const path = `/api/v1/admin/people?${String(query)}`
    const page = await callJson(site, { method: 'GET', path }, peopleAnswer, credentials)
    const found = page.people.find((one) => one.login === login)
    if (found !== undefined) return found.id
    after = page.next
  } while (after !== undefined)
  throw new CliError('CLI_NO_SUCH_PERSON', `nobody has the user name ${login}`, {
    remedy: 'The page People shows who there is.',
  })
}
